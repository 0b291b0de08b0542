//! Against values worked by hand.

use proptest::prelude::*;
use smollm3_sweep::{Change, Spread, exceeded_by_chance};

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-12
}

#[test]
fn mean_and_deviation() {
    // 2, 4, 9: mean 5, squares 9 + 1 + 16 = 26, variance 13.
    let spread = Spread::of(&[2.0, 4.0, 9.0]).unwrap();
    assert_eq!((spread.n, spread.mean), (3, 5.0));
    assert!(close(spread.deviation.unwrap(), 13_f64.sqrt()));
    let one = Spread::of(&[7.0]).unwrap();
    assert_eq!((one.n, one.mean, one.deviation), (1, 7.0, None));
    assert_eq!(Spread::of(&[]), None);
}

#[test]
fn differences_are_paired() {
    // Differences 1, 2, 3: mean 2, deviation 1, error 1/√3; the sides alone spread by ten times as much.
    let change = Change::of(&[(11.0, 10.0), (22.0, 20.0), (33.0, 30.0)]).unwrap();
    assert_eq!((change.n, change.mean), (3, 2.0));
    assert!(close(change.standard_error.unwrap(), 1.0 / 3_f64.sqrt()));
    assert_eq!(change.exceeds_twice_its_error(), Some(true));
    // Differences −1, 0, 2: mean 1/3, squares 16/9 + 1/9 + 25/9 = 42/9, variance 7/3, error √(7/9).
    let small = Change::of(&[(0.0, 1.0), (5.0, 5.0), (4.0, 2.0)]).unwrap();
    assert!(close(small.mean, 1.0 / 3.0));
    assert!(close(small.standard_error.unwrap(), (7.0_f64 / 9.0).sqrt()));
    assert_eq!(small.exceeds_twice_its_error(), Some(false));
    let one = Change::of(&[(3.0, 1.0)]).unwrap();
    assert_eq!(
        (one.mean, one.standard_error, one.exceeds_twice_its_error()),
        (2.0, None, None)
    );
    assert_eq!(Change::of(&[]), None);
    let nothing = Change::of(&[(1.0, 1.0), (2.0, 2.0)]).unwrap();
    assert_eq!(nothing.exceeds_twice_its_error(), Some(false));
}

#[test]
fn chance_is_students() {
    assert_eq!((exceeded_by_chance(0), exceeded_by_chance(1)), (None, None));
    // Closed forms: 1 − 2/π·atan 2; 1 − 2/√6; 1 − 2/π·(θ + sin θ cos θ), θ = atan(2/√3); 1 − sin θ (1 + cos²θ/2), tan θ = 1.
    let three = (2.0 / 3_f64.sqrt()).atan();
    let expected = [
        (2, 1.0 - 2.0 / std::f64::consts::PI * 2_f64.atan()),
        (3, 1.0 - 2.0 / 6_f64.sqrt()),
        (
            4,
            1.0 - 2.0 / std::f64::consts::PI * (three + three.sin() * three.cos()),
        ),
        (5, 1.0 - 0.5_f64.sqrt() * 1.25),
    ];
    for (n, chance) in expected {
        assert!(close(exceeded_by_chance(n).unwrap(), chance), "{n}");
    }
    // The normal distribution's 4.55 %.
    assert!((exceeded_by_chance(2_001).unwrap() - 0.045_500).abs() < 2e-4);
    let all: Vec<f64> = (2..60).map(|n| exceeded_by_chance(n).unwrap()).collect();
    assert!(all.windows(2).all(|pair| pair[0] > pair[1]));
}

proptest! {
    #[test]
    fn what_a_seed_adds_to_both_sides_does_not_matter(
        pairs in prop::collection::vec((-10.0..10.0_f64, -10.0..10.0_f64, -100.0..100.0_f64), 2..20)
    ) {
        let plain: Vec<(f64, f64)> = pairs.iter().map(|(a, b, _)| (*a, *b)).collect();
        let moved: Vec<(f64, f64)> = pairs.iter().map(|(a, b, c)| (a + c, b + c)).collect();
        let (plain, moved) = (Change::of(&plain).unwrap(), Change::of(&moved).unwrap());
        prop_assert!((plain.mean - moved.mean).abs() < 1e-9);
        prop_assert!((plain.standard_error.unwrap() - moved.standard_error.unwrap()).abs() < 1e-9);
    }
}
