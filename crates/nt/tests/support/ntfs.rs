//! As much of NTFS as finds the data of two system files: boot sector, file record, data runs.

/// Number of `$Secure` in the MFT.
pub(crate) const SECURE: u64 = 9;
/// Number of `$UpCase` in the MFT.
pub(crate) const UPCASE: u64 = 10;

const DATA: u32 = 0x80;

/// A volume in memory.
pub(crate) struct Volume<'a> {
    bytes: &'a [u8],
    sector: usize,
    cluster: usize,
    record: usize,
    mft: usize,
}

fn le(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

impl<'a> Volume<'a> {
    /// The volume at the start of `bytes`, or in the first partition that is one.
    pub(crate) fn find(bytes: &'a [u8]) -> Option<Self> {
        let is_ntfs = |at: &usize| bytes.get(at + 3..at + 11) == Some(b"NTFS    ");
        let partitions =
            (0..4).map(|n| 446 + 16 * n + 8).filter_map(|at| Some(le(bytes.get(at..at + 4)?) as usize * 512));
        let start = std::iter::once(0).chain(partitions).find(is_ntfs)?;
        let bytes = &bytes[start..];
        let sector = le(&bytes[11..13]) as usize;
        let cluster = sector * usize::from(bytes[13]);
        let record = match bytes[0x40] as i8 {
            clusters @ 0.. => clusters as usize * cluster,
            shift => 1 << -shift,
        };
        Some(Volume { bytes, sector, cluster, record, mft: le(&bytes[0x30..0x38]) as usize * cluster })
    }

    /// The data of a system file (the first records of the MFT lie in one piece); `stream` is empty or a name.
    pub(crate) fn data(&self, number: u64, stream: &str) -> Vec<u8> {
        let at = self.mft + number as usize * self.record;
        let mut record = self.bytes[at..at + self.record].to_vec();
        assert_eq!(&record[..4], b"FILE", "record {number}");
        let (fixups, count) = (le(&record[4..6]) as usize, le(&record[6..8]) as usize);
        for n in 1..count {
            let (from, to) = (fixups + 2 * n, n * self.sector - 2);
            assert_eq!(record[to..to + 2], record[fixups..fixups + 2], "fixup {n} of record {number}");
            record.copy_within(from..from + 2, to);
        }
        let wanted: Vec<u8> = stream.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut at = le(&record[20..22]) as usize;
        loop {
            let kind = le(&record[at..at + 4]) as u32;
            assert_ne!(kind, u32::MAX, "record {number} has no data `{stream}`");
            let attribute = &record[at..at + le(&record[at + 4..at + 8]) as usize];
            let name_at = le(&attribute[10..12]) as usize;
            let name = &attribute[name_at..name_at + 2 * usize::from(attribute[9])];
            if kind == DATA && name == wanted {
                return self.content(attribute);
            }
            at += attribute.len();
        }
    }

    fn content(&self, attribute: &[u8]) -> Vec<u8> {
        if attribute[8] == 0 {
            let at = le(&attribute[20..22]) as usize;
            return attribute[at..at + le(&attribute[16..20]) as usize].to_vec();
        }
        let size = le(&attribute[48..56]) as usize;
        let mut runs = &attribute[le(&attribute[32..34]) as usize..];
        let mut out = Vec::new();
        let mut cluster = 0_i64;
        while runs[0] != 0 {
            let (length_bytes, offset_bytes) = (usize::from(runs[0] & 15), usize::from(runs[0] >> 4));
            let length = le(&runs[1..1 + length_bytes]) as usize * self.cluster;
            let offset = &runs[1 + length_bytes..1 + length_bytes + offset_bytes];
            if offset.is_empty() {
                out.resize(out.len() + length, 0);
            } else {
                let shift = 64 - 8 * offset_bytes;
                cluster += (le(offset) << shift) as i64 >> shift;
                out.extend_from_slice(&self.bytes[cluster as usize * self.cluster..][..length]);
            }
            runs = &runs[1 + length_bytes + offset_bytes..];
        }
        out.truncate(size);
        out
    }
}
