//! Marvin32, the checksum of log entries (US patent 20130262421), with the seed that the registry uses.

/// The seed of the registry.
const SEED: (u32, u32) = (0x7A4E_55C5, 0x82EF_4D88);

fn mix((mut low, mut high): (u32, u32), word: u32) -> (u32, u32) {
    low = low.wrapping_add(word);
    high ^= low;
    low = low.rotate_left(20).wrapping_add(high);
    high = high.rotate_left(9) ^ low;
    low = low.rotate_left(27).wrapping_add(high);
    high = high.rotate_left(19);
    (low, high)
}

/// The hash of these bytes.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(4);
    let tail = words.remainder();
    let state =
        words.fold(SEED, |state, word| mix(state, u32::from_le_bytes([word[0], word[1], word[2], word[3]])));
    let mut last = [0; 4];
    last[..tail.len()].copy_from_slice(tail);
    last[tail.len()] = 0x80;
    let (low, high) = mix(mix(state, u32::from_le_bytes(last)), 0);
    u64::from(high) << 32 | u64::from(low)
}
