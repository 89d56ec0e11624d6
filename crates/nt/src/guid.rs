//! GUIDs as text.

use std::fmt;

/// Writes a GUID whose first three groups lie little-endian in `bytes`, as on disk: lower case, no braces.
pub(crate) fn write(out: &mut impl fmt::Write, bytes: &[u8; 16]) -> fmt::Result {
    const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    for (n, index) in ORDER.into_iter().enumerate() {
        if matches!(n, 4 | 6 | 8 | 10) {
            out.write_char('-')?;
        }
        write!(out, "{:02x}", bytes[index])?;
    }
    Ok(())
}
