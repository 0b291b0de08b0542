//! The keyed permutation: a bijection, the same everywhere, without visible structure.

use proptest::prelude::*;
use smollm3_mixer::Permutation;

fn entries(len: u64, key: [u8; 32], number: u64) -> Vec<u64> {
    let permutation = Permutation::new(len, &key, number);
    (0..len).map(|x| permutation.get(x).unwrap()).collect()
}

/// Another order would silently change what a resumed run is trained on. The values come from a
/// second implementation of the construction, in Python.
#[test]
fn the_order_is_fixed_for_all_time() {
    assert_eq!(entries(10, [7; 32], 0), [3, 7, 8, 2, 9, 5, 0, 6, 4, 1]);
    let large = Permutation::new(2_700_000_000, &[7; 32], 3);
    assert_eq!(
        [0, 1, 2, 2_699_999_999].map(|x| large.get(x).unwrap()),
        [795267117, 1416287420, 547954357, 1478244067]
    );
}

#[test]
fn empty_and_single() {
    assert!(Permutation::new(0, &[0; 32], 0).is_empty());
    assert_eq!(Permutation::new(0, &[0; 32], 0).get(0), None);
    assert_eq!(entries(1, [0; 32], 5), [0]);
    assert_eq!(Permutation::new(9, &[0; 32], 5).get(9), None);
}

/// Every order of few entries is about as frequent: a true shuffle passes these chi-square bounds
/// (five deviations above the mean) but once in a hundred thousand times.
#[test]
fn short_orders_are_uniform() {
    for (len, orders) in [(3, 6), (4, 24), (5, 120), (6, 720)] {
        let rounds = 100_000;
        let mut frequency = std::collections::HashMap::new();
        for number in 0..rounds {
            *frequency.entry(entries(len, [1; 32], number)).or_insert(0u64) += 1;
        }
        assert_eq!(frequency.len(), orders);
        let expected = rounds as f64 / orders as f64;
        let chi_square: f64 = frequency
            .values()
            .map(|&n| (n as f64 - expected).powi(2) / expected)
            .sum();
        let freedom = orders as f64 - 1.0;
        assert!(
            chi_square < freedom + 5.0 * (2.0 * freedom).sqrt() + 8.0,
            "{len} entries: {chi_square}"
        );
    }
}

/// Over many epochs each entry visits each tenth of a source equally often, and so does the step from
/// one entry to the next: chi-square with 9 degrees of freedom under 40 (p = 8e-6).
#[test]
fn neighbours_are_spread() {
    let (len, epochs) = (1013, 20);
    let mut places = [0u64; 10];
    let mut steps = [0u64; 10];
    for epoch in 0..epochs {
        let order = entries(len, [2; 32], epoch);
        for pair in order.windows(2) {
            steps[((pair[1] + len - pair[0]) % len * 10 / len) as usize] += 1;
        }
        // The first hundred windows of an epoch come from everywhere.
        order[..100]
            .iter()
            .for_each(|&x| places[(x * 10 / len) as usize] += 1);
    }
    for frequency in [places, steps] {
        let expected = frequency.iter().sum::<u64>() as f64 / 10.0;
        let chi_square: f64 = frequency
            .iter()
            .map(|&n| (n as f64 - expected).powi(2) / expected)
            .sum();
        assert!(chi_square < 40.0, "{frequency:?}");
    }
}

/// Two epochs agree in about one place, as two random permutations do.
#[test]
fn epochs_are_independent() {
    let epochs: Vec<_> = (0..40).map(|epoch| entries(997, [3; 32], epoch)).collect();
    let mut agreements = 0;
    for (index, a) in epochs.iter().enumerate() {
        for b in &epochs[..index] {
            agreements += a.iter().zip(b).filter(|(x, y)| x == y).count();
        }
    }
    // 780 pairs, a Poisson number of mean 1 each: mean 780, deviation 28.
    assert!((640..920).contains(&agreements), "{agreements}");
}

proptest! {
    #[test]
    fn it_is_a_bijection(len in 0u64..5000, key: [u8; 32], number: u64) {
        let mut order = entries(len, key, number);
        order.sort_unstable();
        prop_assert!(order.into_iter().eq(0..len));
    }

    #[test]
    fn epochs_and_keys_differ(len in 100u64..5000, key: [u8; 32], number in 0u64..u64::MAX) {
        let order = entries(len, key, number);
        prop_assert_ne!(&order, &entries(len, key, number + 1));
        let mut other = key;
        other[0] ^= 1;
        prop_assert_ne!(order, entries(len, other, number));
    }

    #[test]
    fn large_domains_stay_inside(len in (1u64 << 40)..(1 << 62), key: [u8; 32], x: u64, y: u64) {
        let permutation = Permutation::new(len, &key, 0);
        let (x, y) = (x % len, y % len);
        let images = (permutation.get(x).unwrap(), permutation.get(y).unwrap());
        prop_assert!(images.0 < len && images.1 < len);
        prop_assert_eq!(x == y, images.0 == images.1);
    }
}
