//! Samples, and how they are unpacked.

use std::io::Read as _;

/// A hive of the samples, unpacked; `None` after having said what is missing.
#[track_caller]
pub(crate) fn sample(test: &str, name: &str) -> Option<Vec<u8>> {
    let path = layerstone_testing::sample(test, &format!("hives/{name}"))?;
    if name.ends_with(".xz") {
        let output = layerstone_testing::tool(test, "xz")?.arg("-dc").arg(&path).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        return Some(output.stdout);
    }
    let bytes = std::fs::read(&path).unwrap();
    if !name.ends_with(".gz") {
        return Some(bytes);
    }
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut unpacked).unwrap();
    Some(unpacked)
}
