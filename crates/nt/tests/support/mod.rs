//! What the comparison needs and the crate does not own: vectors, a small tar reader.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use layerstone_nt::tar::EntryKind;
use serde_json::Value;

/// The recorded vectors.
pub(crate) fn vectors() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/backuptar.json");
    let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    file["vectors"].as_array().unwrap().clone()
}

/// A text field.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// A whole number.
pub(crate) fn int(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// A field of bytes: `{"b64": …}`.
pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    STANDARD.decode(value["b64"].as_str().unwrap()).unwrap()
}

/// One entry of a tar, with its PAX records.
#[derive(Debug, Default)]
pub(crate) struct TarEntry {
    /// The name, from the header or the `path` record.
    pub(crate) name: Vec<u8>,
    /// The typeflag.
    pub(crate) typeflag: u8,
    /// The link's target.
    pub(crate) linkname: Vec<u8>,
    /// The header's mtime.
    pub(crate) mtime: i64,
    /// The PAX records.
    pub(crate) records: Vec<(Vec<u8>, Vec<u8>)>,
    /// The payload, as far as it is there.
    pub(crate) data: Vec<u8>,
}

impl TarEntry {
    /// What the crate takes the entry for.
    pub(crate) fn kind(&self) -> EntryKind {
        EntryKind::new(self.typeflag, &self.name)
    }

    /// The entries of a tar made by Go.
    pub(crate) fn read_all(tar: &[u8]) -> Vec<Self> {
        let mut entries = Vec::new();
        let mut records = Vec::new();
        let mut position = 0;
        while let Some(header) = tar.get(position..position + 512).filter(|h| h.iter().any(|&b| b != 0)) {
            let size = octal(&header[124..136]) as usize;
            let end = (position + 512 + size).min(tar.len());
            let data = tar.get(position + 512..end).unwrap_or_default();
            position += 512 + size.next_multiple_of(512);
            if header[156] == b'x' {
                records = pax(data);
                continue;
            }
            let mut entry = Self {
                name: c_text(&header[..100]),
                typeflag: header[156],
                linkname: c_text(&header[157..257]),
                mtime: octal(&header[136..148]),
                records: std::mem::take(&mut records),
                data: data.to_vec(),
            };
            let prefix = c_text(&header[345..500]);
            if !prefix.is_empty() && &header[257..263] == b"ustar\0" {
                entry.name = [prefix, b"/".to_vec(), entry.name].concat();
            }
            for (key, value) in &entry.records {
                match key.as_slice() {
                    b"path" => entry.name.clone_from(value),
                    b"linkpath" => entry.linkname.clone_from(value),
                    _ => {}
                }
            }
            entries.push(entry);
        }
        entries
    }
}

fn c_text(field: &[u8]) -> Vec<u8> {
    field.split(|&b| b == 0).next().unwrap_or_default().to_vec()
}

fn octal(field: &[u8]) -> i64 {
    let digits: String = field.iter().take_while(|b| b.is_ascii_digit()).map(|&b| char::from(b)).collect();
    i64::from_str_radix(&digits, 8).unwrap_or(0)
}

fn pax(mut data: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut records = Vec::new();
    while let Some(space) = data.iter().position(|&b| b == b' ') {
        let length: usize = std::str::from_utf8(&data[..space]).unwrap().parse().unwrap();
        let record = &data[space + 1..length - 1];
        let equals = record.iter().position(|&b| b == b'=').unwrap();
        records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        data = &data[length..];
    }
    records
}
