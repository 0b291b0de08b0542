//! Means and their standard errors.

use proptest::prelude::*;
use smollm3_eval::Estimate;

#[test]
fn a_mean_has_the_error_of_its_sample() {
    // Variance with n − 1: (2.25 · 2 + 0.25 · 2) / 3 = 5/3; its root over √4.
    let found = Estimate::mean([1.0, 2.0, 3.0, 4.0]);
    assert_eq!(found.value, 2.5);
    assert!((found.standard_error.unwrap() - (5.0_f64 / 3.0).sqrt() / 2.0).abs() < 1e-15);
    let share = Estimate::share([true, false, false, true, true]);
    assert!((share.value - 0.6).abs() < 1e-15);
    assert!((share.standard_error.unwrap() - (0.24_f64 / 4.0).sqrt()).abs() < 1e-15);
    assert_eq!(format!("{:.1}", share.times(100.0)), "60.0 ± 24.5");
}

#[test]
fn one_item_has_no_error_and_none_no_figure() {
    assert_eq!(Estimate::mean([3.0]).standard_error, None);
    assert_eq!(format!("{}", Estimate::mean([3.0])), "3.00");
    assert_eq!(Estimate::mean([]).value, 0.0);
}

#[test]
fn a_ratio_weighs_its_items() {
    let found = Estimate::ratio(&[(2.0, 1.0), (2.0, 3.0)]);
    assert_eq!(found.value, 1.0);
    // Residuals 1 and −1: √(2 · 2/1) / 4.
    assert_eq!(found.standard_error, Some(0.5));
}

proptest! {
    #[test]
    fn a_ratio_over_equal_parts_is_the_mean(values in prop::collection::vec(-5f64..5.0, 2..30), part in 1f64..9.0) {
        let mean = Estimate::mean(values.iter().copied());
        let ratio = Estimate::ratio(&values.iter().map(|value| (value * part, part)).collect::<Vec<_>>());
        prop_assert!((mean.value - ratio.value).abs() < 1e-12);
        prop_assert!((mean.standard_error.unwrap() - ratio.standard_error.unwrap()).abs() < 1e-12);
    }
}
