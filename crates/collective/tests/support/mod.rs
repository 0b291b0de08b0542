//! Checks that hold for every implementation. Each rank knows the values of all, made from a seed, and compares what it
//! was given to the bit with what a loop over ranks gives; the ranks of `examples/ranks.rs` do the same over MPI.

use std::hash::{DefaultHasher, Hash, Hasher};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use smollm3_collective::{Collective, Reduction, Shards};

/// Lengths around what is divided unevenly, and one of more than a piece a rank for up to 4 ranks.
pub const LENGTHS: [usize; 10] = [0, 1, 2, 3, 5, 64, 1000, 1025, 4099, (1 << 18) + 7];

/// Values between 2^-20 and 2^20, whose sum depends on the order of additions in `f32`, some of them negative zeros.
pub fn values(seed: u64, rank: usize, length: usize) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed * 1000 + rank as u64);
    let mut value = || {
        let bits: u32 = random.random();
        match bits >> 23 & 0xff {
            0..10 => -0.0,
            exponent => f32::from_bits(bits & 0x807f_ffff | (107 + exponent % 40) << 23),
        }
    };
    (0..length).map(|_| value()).collect()
}

/// The sum over ranks of each element, one after another.
pub fn serial_sum(seed: u64, world: usize, length: usize) -> Vec<f32> {
    let of_ranks: Vec<Vec<f32>> = (0..world).map(|rank| values(seed, rank, length)).collect();
    let sum = |index: usize| {
        let mut sum = f64::from(of_ranks[0][index]);
        for values in &of_ranks[1..] {
            sum += f64::from(values[index]);
        }
        sum as f32
    };
    (0..length).map(sum).collect()
}

/// Shards of random lengths, some of them empty, the same on all ranks.
pub fn random_counts(seed: u64, world: usize, length: usize) -> Vec<usize> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut left = length;
    let mut counts: Vec<usize> = (1..world)
        .map(|_| {
            let count = if random.random_bool(0.3) {
                0
            } else {
                random.random_range(0..=left)
            };
            left -= count;
            count
        })
        .collect();
    counts.push(left);
    counts
}

/// Panics where two slices differ in a bit.
#[track_caller]
pub fn assert_bits(got: &[f32], expected: &[f32], what: &str) {
    let bits = |values: &[f32]| -> Vec<u32> { values.iter().map(|value| value.to_bits()).collect() };
    let (got, expected) = (bits(got), bits(expected));
    let differs = got.iter().zip(&expected).position(|(a, b)| a != b);
    assert!(
        got.len() == expected.len() && differs.is_none(),
        "{what}: first differs at {differs:?}"
    );
}

/// Every operation on values of one length; a hash of all results.
pub fn check(ranks: &dyn Collective, seed: u64, length: usize) -> u64 {
    let (rank, world) = (ranks.rank(), ranks.world());
    let mut hash = DefaultHasher::new();
    let sum = serial_sum(seed, world, length);

    let mut all = values(seed, rank, length);
    ranks.all_reduce(&mut all).unwrap();
    assert_bits(&all, &sum, "all_reduce");
    all.iter().for_each(|value| value.to_bits().hash(&mut hash));

    let counts = random_counts(seed, world, length);
    let own = Shards::from_counts(&counts).range(rank);
    let mut shard = values(seed, rank, length);
    ranks.reduce_scatter(&mut shard, &counts).unwrap();
    let mut expected = values(seed, rank, length);
    expected[own.clone()].copy_from_slice(&sum[own.clone()]);
    assert_bits(&shard, &expected, "reduce_scatter");

    let mut gathered = vec![f32::NAN; length];
    gathered[own.clone()].copy_from_slice(&shard[own]);
    ranks.all_gather(&mut gathered, &counts).unwrap();
    assert_bits(&gathered, &sum, "all_gather");

    let numbers_of =
        |values: &[f32]| -> Vec<f64> { values.iter().map(|value| 0.1 * f64::from(*value)).collect() };
    let mut numbers = vec![f64::NAN; length];
    let own = Shards::from_counts(&counts).range(rank);
    numbers[own.clone()].copy_from_slice(&numbers_of(&sum[own]));
    ranks.all_gather_f64(&mut numbers, &counts).unwrap();
    assert_eq!(numbers, numbers_of(&sum), "all_gather_f64");

    let bytes_of = |rank: usize| -> Vec<u8> { (0..length % 100 + rank).map(|i| (i + rank) as u8).collect() };
    let expected: Vec<Vec<u8>> = (0..world).map(bytes_of).collect();
    assert_eq!(ranks.all_gather_bytes(&bytes_of(rank)).unwrap(), expected);

    for root in 0..world {
        let mut copy = values(seed, rank, length);
        ranks.broadcast(&mut copy, root).unwrap();
        assert_bits(&copy, &values(seed, root, length), "broadcast");
        assert_eq!(
            ranks.broadcast_bytes(bytes_of(rank), root).unwrap(),
            bytes_of(root)
        );
    }

    for (reduction, of_all) in [
        (
            Reduction::Sum,
            (0..world).map(|rank| 0.1 * rank as f64).fold(0.0, |a, b| a + b),
        ),
        (Reduction::Max, 0.1 * (world - 1) as f64),
        (Reduction::Min, 0.0),
    ] {
        let mut numbers = [0.1 * rank as f64, 7.0];
        ranks.all_reduce_f64(&mut numbers, reduction).unwrap();
        let constant = if reduction == Reduction::Sum {
            7.0 * world as f64
        } else {
            7.0
        };
        assert_eq!(
            numbers.map(f64::to_bits),
            [of_all, constant].map(f64::to_bits),
            "{reduction:?}"
        );
    }

    ranks.barrier().unwrap();
    hash.finish()
}
