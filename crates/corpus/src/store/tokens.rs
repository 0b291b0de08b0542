//! A borrowed run of tokens, whatever their width on disk.

use super::format::TokenWidth;

/// Tokens as they lie in the memory map, read as `u32`.
///
/// Kept as bytes: the format is little-endian on every machine, and the conversion compiles to a widening copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tokens<'a> {
    bytes: &'a [u8],
    width: TokenWidth,
}

impl<'a> Tokens<'a> {
    /// `bytes` must be whole tokens; a trailing part of one is ignored.
    pub(crate) fn new(bytes: &'a [u8], width: TokenWidth) -> Self {
        Tokens { bytes, width }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.width.bytes() as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The token at `index`, if there is one.
    pub fn get(&self, index: usize) -> Option<u32> {
        let width = self.width.bytes() as usize;
        let bytes = self.bytes.get(index.checked_mul(width)?..)?.get(..width)?;
        match *bytes {
            [a, b] => Some(u16::from_le_bytes([a, b]).into()),
            [a, b, c, d] => Some(u32::from_le_bytes([a, b, c, d])),
            _ => None,
        }
    }

    /// The tokens in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + 'a {
        let bytes = self.bytes;
        let (narrow, wide) = match self.width {
            TokenWidth::U16 => (bytes, &bytes[..0]),
            TokenWidth::U32 => (&bytes[..0], bytes),
        };
        let narrow = narrow.as_chunks::<2>().0.iter();
        let narrow = narrow.map(|token| u32::from(u16::from_le_bytes(*token)));
        let wide = wide.as_chunks::<4>().0.iter();
        narrow.chain(wide.map(|token| u32::from_le_bytes(*token)))
    }

    /// All tokens as a vector.
    pub fn to_vec(&self) -> Vec<u32> {
        self.iter().collect()
    }
}
