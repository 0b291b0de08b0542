//! A keyed permutation of `0..n` that is computed entry by entry.
//!
//! The windows of a source are read in another order each epoch. A shuffled array would need eight
//! bytes a window (a 2.7-billion-window source: 22 GB a rank) and a linear pass each epoch; this
//! needs a handful of numbers, any entry at any time, in some tens of nanoseconds.
//!
//! Entry `x` is written in two digits, `x = left + a·right` with `a = ⌈√n⌉` and `b = ⌈n/a⌉`, and
//! passes a Feistel network over the two: alternately `left += F(right) mod a` and
//! `right += F(left) mod b`, each round with its own key. Each round can be undone, so the whole is
//! a permutation of `0..a·b`; an image past `n` is sent through again until it falls below (cycle
//! walking), which keeps it a permutation of `0..n`. As `a·b < n + a`, fewer than one entry in `√n`
//! walks (Black and Rogaway 2002, "Ciphers with arbitrary finite domains").
//!
//! `F` is the finaliser of SplitMix64 (Steele, Lea, Flood 2014) on the digit plus the round key,
//! scaled to the digit's range; round keys come from BLAKE3 in keyed mode. Integer arithmetic
//! throughout: the same order on every machine.
//!
//! Quality: four rounds make a Feistel network a strong pseudo-random permutation when the round
//! functions are ideal (Luby and Rackoff 1988), but on a handful of entries the round functions
//! themselves take few values: with eight rounds some orders of five or six entries are visibly
//! likelier than others, with sixteen no longer. It is meant to break correlation between neighbours
//! in a file and between epochs, which the tests check, and not to keep secrets. A shuffle of very few
//! entries has few orders to choose from: two windows keep theirs every second epoch.

const ROUNDS: usize = 16;

/// A permutation of `0..len`; see the [module documentation](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permutation {
    len: u64,
    left: u64,
    right: u64,
    round_keys: [u64; ROUNDS],
}

impl Permutation {
    /// The permutation of `0..len` that `key` and `number` name, such as a source's key and an
    /// epoch. `len` must be below 2⁶³.
    pub fn new(len: u64, key: &[u8; 32], number: u64) -> Self {
        let mut hash = blake3::Hasher::new_keyed(key);
        hash.update(&number.to_le_bytes());
        let mut bytes = [0u8; 8 * ROUNDS];
        hash.finalize_xof().fill(&mut bytes);
        let mut round_keys = [0; ROUNDS];
        for (round_key, chunk) in round_keys.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *round_key = u64::from_le_bytes(*chunk);
        }
        let root = len.isqrt();
        let left = (root + u64::from(root * root < len)).max(1);
        Self {
            len,
            left,
            right: len.div_ceil(left),
            round_keys,
        }
    }

    /// Number of entries.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where entry `x` goes; `None` if `x` is not below [`len`](Self::len).
    pub fn get(&self, x: u64) -> Option<u64> {
        if x >= self.len {
            return None;
        }
        let mut y = self.once(x);
        while y >= self.len {
            y = self.once(y);
        }
        Some(y)
    }

    /// The network on `0..left·right`.
    fn once(&self, x: u64) -> u64 {
        let (mut l, mut r) = (x % self.left, x / self.left);
        for keys in self.round_keys.as_chunks::<2>().0 {
            l += scaled(mix(r.wrapping_add(keys[0])), self.left);
            l -= if l >= self.left { self.left } else { 0 };
            r += scaled(mix(l.wrapping_add(keys[1])), self.right);
            r -= if r >= self.right { self.right } else { 0 };
        }
        l + self.left * r
    }
}

/// SplitMix64's finaliser, a bijection of 64-bit words in which each input bit reaches each output bit.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A word as a number below `range`; no value is likelier than another by more than `range / 2⁶⁴`.
fn scaled(word: u64, range: u64) -> u64 {
    ((u128::from(word) * u128::from(range)) >> 64) as u64
}
