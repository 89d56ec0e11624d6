//! Readers that refuse content other than what was stated.

use std::io::{Read, Write};

use layerstone_oci::{Digest, Error, Sha256Reader, Sha256Writer, VerifyError, VerifyingReader};

fn read(content: &[u8], digest: Digest, size: Option<u64>) -> Result<Vec<u8>, Box<VerifyError>> {
    let mut bytes = Vec::new();
    match VerifyingReader::new(content, digest, size).unwrap().read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(error.into_inner().unwrap().downcast::<VerifyError>().unwrap()),
    }
}

#[test]
fn right_content_is_handed_out() {
    for content in [&b""[..], b"x", &[7; 100_000]] {
        assert_eq!(read(content, Digest::of(content), Some(content.len() as u64)).unwrap(), content);
        assert_eq!(read(content, Digest::of(content), None).unwrap(), content);
    }
}

#[test]
fn wrong_content_is_refused() {
    let digest = Digest::of(b"hello");
    assert!(matches!(*read(b"hell", digest, Some(5)).unwrap_err(), VerifyError::TooShort { found: 4, .. }));
    assert!(matches!(*read(b"hello!", digest, Some(5)).unwrap_err(), VerifyError::TooLong { .. }));
    assert!(matches!(*read(b"hallo", digest, Some(5)).unwrap_err(), VerifyError::Mismatch { .. }));
    assert!(matches!(*read(b"hallo", digest, None).unwrap_err(), VerifyError::Mismatch { .. }));
    assert!(matches!(*read(b"", digest, Some(0)).unwrap_err(), VerifyError::Mismatch { .. }));
    assert!(matches!(*read(b"x", Digest::of(b""), Some(0)).unwrap_err(), VerifyError::TooLong { .. }));
}

#[test]
fn the_last_bytes_of_wrong_content_are_never_handed_out() {
    let mut reader = VerifyingReader::new(&b"hallo"[..], Digest::of(b"hello"), Some(5)).unwrap();
    let mut bytes = [0; 5];
    assert!(reader.read_exact(&mut bytes).is_err());
    assert!(!reader.is_verified());
    assert!(reader.read(&mut bytes).is_err(), "and it stays refused");
}

#[test]
fn sha512_is_known_but_not_verified() {
    let digest = Digest::parse(&format!("sha512:{}", "0".repeat(128))).unwrap();
    assert!(matches!(VerifyingReader::new(&b""[..], digest, None), Err(Error::UnsupportedAlgorithm { .. })));
}

#[test]
fn hashing_writers_and_readers_agree() {
    let mut writer = Sha256Writer::new(Vec::new());
    writer.write_all(b"hello").unwrap();
    let (bytes, written, len) = writer.finish();
    let mut reader = Sha256Reader::new(&bytes[..]);
    std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
    assert_eq!((reader.finish().1, len), (written, 5));
    assert_eq!(written, Digest::of(b"hello"));
}
