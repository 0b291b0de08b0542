//! Valid files made invalid, by random bytes and random numbers.

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

/// What takes the place of a number in text.
const NUMBERS: [&str; 22] = [
    "0",
    "-1",
    "1",
    "2",
    "3",
    "7",
    "0.5",
    "-0.5",
    "1e-320",
    "65536",
    "1000003",
    "2147483648",
    "4294967295",
    "4294967296",
    "1099511627776",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775809",
    "1e400",
    "NaN",
    "null",
];

/// `bytes` with one to four changes.
pub fn mutated(bytes: &[u8], rng: &mut impl Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.random_range(1..=4) {
        match rng.random_range(0..8) {
            0..3 => number(&mut bytes, rng),
            3 => word(&mut bytes, rng),
            4 => {
                for _ in 0..rng.random_range(1..=8) {
                    let random = rng.random();
                    if let Some(byte) = pick(&mut bytes, rng) {
                        *byte = random;
                    }
                }
            }
            5 => {
                if let Some(byte) = pick(&mut bytes, rng) {
                    *byte ^= 1 << rng.random_range(0..8);
                }
            }
            6 => {
                // A piece is lost, doubled or put elsewhere.
                let (start, end) = range(&bytes, rng);
                let piece: Vec<u8> = bytes[start..end].to_vec();
                if rng.random() {
                    bytes.drain(start..end);
                }
                if rng.random() {
                    let at = rng.random_range(0..=bytes.len());
                    bytes.splice(at..at, piece);
                }
            }
            _ => {
                let length = rng.random_range(0..=bytes.len());
                bytes.truncate(length);
            }
        }
    }
    bytes
}

/// Another number in the place of one that is written out.
fn number(bytes: &mut Vec<u8>, rng: &mut impl Rng) {
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let starts: Vec<usize> = (0..bytes.len())
        .filter(|at| is_digit(*at) && (*at == 0 || !is_digit(at - 1)))
        .collect();
    if let Some(&start) = starts.choose(rng) {
        let end = (start..bytes.len())
            .find(|at| !is_digit(*at))
            .unwrap_or(bytes.len());
        let other = match rng.random_range(0..4) {
            0 => rng.random::<u64>().to_string(),
            1 => rng.random_range(0..100).to_string(),
            _ => NUMBERS.choose(rng).unwrap_or(&"0").to_string(),
        };
        bytes.splice(start..end, other.into_bytes());
    }
}

/// Another number in the place of one in binary, of four or eight bytes.
fn word(bytes: &mut [u8], rng: &mut impl Rng) {
    let number = match rng.random_range(0..5) {
        0 => 0,
        1 => u64::MAX,
        2 => 1 << rng.random_range(0..64),
        3 => rng.random_range(0..1000),
        _ => rng.random(),
    };
    let length = if rng.random() { 4 } else { 8 };
    if bytes.len() >= length {
        let at = rng.random_range(0..=bytes.len() - length);
        bytes[at..at + length].copy_from_slice(&number.to_le_bytes()[..length]);
    }
}

fn pick<'a>(bytes: &'a mut [u8], rng: &mut impl Rng) -> Option<&'a mut u8> {
    match bytes.len() {
        0 => None,
        length => bytes.get_mut(rng.random_range(0..length)),
    }
}

fn range(bytes: &[u8], rng: &mut impl Rng) -> (usize, usize) {
    let start = rng.random_range(0..=bytes.len());
    let end = rng.random_range(start..=bytes.len().min(start + 64));
    (start, end)
}

/// Seconds that a run over mutated files takes: a few, or what `SMOLLM3_MUTATION_SECONDS` says.
pub fn seconds(few: u64) -> std::time::Duration {
    let said = std::env::var("SMOLLM3_MUTATION_SECONDS").ok();
    let said = said.map(|seconds| seconds.parse().expect("SMOLLM3_MUTATION_SECONDS is a number"));
    std::time::Duration::from_secs(said.unwrap_or(few))
}

/// Where the random numbers begin: the same each time, or what `SMOLLM3_MUTATION_SEED` says.
pub fn seed() -> u64 {
    let said = std::env::var("SMOLLM3_MUTATION_SEED").ok();
    said.map_or(1, |seed| seed.parse().expect("SMOLLM3_MUTATION_SEED is a number"))
}
