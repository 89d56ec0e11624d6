//! PAX extended header records: `"<length> <key>=<value>\n"`, the length counting the whole record.
//!
//! Source: POSIX.1-2017 `pax`, section "pax Extended Header".

use super::Error;

/// Key and value of one record, in the order in which they came. Values are bytes: xattrs hold anything.
pub type Record = (Vec<u8>, Vec<u8>);

/// Reads all records of an extended header whose body starts at byte `offset` of the archive.
pub fn parse(body: &[u8], offset: u64) -> Result<Vec<Record>, Error> {
    let mut records = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        // Some writers pad the body with NULs inside the stated size.
        if rest.iter().all(|&b| b == 0) {
            break;
        }
        let at = offset + (body.len() - rest.len()) as u64;
        let bad = |reason| Error::Pax { offset: at, reason };
        let space = rest
            .iter()
            .take(20)
            .position(|&b| b == b' ')
            .ok_or_else(|| bad("no length before the first space"))?;
        let length: usize = std::str::from_utf8(&rest[..space])
            .ok()
            .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| bad("the length is not a decimal number"))?;
        if length <= space + 1 || length > rest.len() {
            return Err(bad("the length does not fit the header"));
        }
        let record = &rest[space + 1..length];
        let Some((b'\n', record)) = record.split_last() else {
            return Err(bad("the record does not end in a newline"));
        };
        let equals =
            record.iter().position(|&b| b == b'=').ok_or_else(|| bad("no `=` between key and value"))?;
        if equals == 0 {
            return Err(bad("the key is empty"));
        }
        records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        rest = &rest[length..];
    }
    Ok(records)
}

/// Appends one record to `out`.
pub fn write(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let payload = key.len() + value.len() + 3;
    let mut digits = 1;
    // The length counts its own digits.
    while (payload + digits).to_string().len() > digits {
        digits += 1;
    }
    out.extend_from_slice((payload + digits).to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_every_length_near_a_power_of_ten_round_trip() {
        for size in (0..120).chain(980..1010).chain(9985..10010) {
            let value = vec![b'\n'; size];
            let mut body = Vec::new();
            write(&mut body, b"SCHILY.xattr.user.x", &value);
            assert_eq!(parse(&body, 0).unwrap(), [(b"SCHILY.xattr.user.x".to_vec(), value)]);
        }
    }

    #[test]
    fn malformed_records_are_refused() {
        for body in
            [&b"x"[..], b"3 a", b"99 a=b\n", b"5 a=b\n6 a=b\n", b"6 a=b,", b"5 ab\n", b"5 =b\n", b" a=b\n"]
        {
            assert!(parse(body, 0).is_err(), "{}", String::from_utf8_lossy(body));
        }
    }
}
