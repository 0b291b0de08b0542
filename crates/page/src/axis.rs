//! Round numbers along an axis, and numbers as short texts.

/// Round numbers within a range: multiples of 1, 2 or 5 times a power of ten.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ticks {
    step: f64,
    /// The numbers, rising.
    pub values: Vec<f64>,
}

impl Ticks {
    /// At most `most` of them in `low..=high`, at least `least` apart. Both ends are finite, and `low < high`.
    pub fn new((low, high): (f64, f64), most: usize, least: f64) -> Self {
        let rough = ((high - low) / most.max(1) as f64).max(least);
        let power = 10_f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0, 20.0].map(|times| times * power);
        let count = |step: f64| (high / step).floor() - (low / step).ceil() + 1.0;
        let fits = |step: &f64| *step >= least && count(*step) <= most as f64;
        let step = steps.into_iter().find(fits).unwrap_or(high - low);
        let first = (low / step).ceil();
        let values = (0..most)
            .map(|index| (first + index as f64) * step)
            .take_while(|value| *value <= high);
        Self {
            step,
            values: values.collect(),
        }
    }

    /// The numbers as texts in one unit.
    pub fn labels(&self) -> Vec<String> {
        let largest = self
            .values
            .iter()
            .fold(0.0, |most: f64, value| most.max(value.abs()));
        let exponent = |value: f64| (value.abs().log10() + 1e-9).floor() as i32;
        let plain = |value: f64, unit: f64, sign: &str| {
            let digits = (-exponent(self.step / unit)).max(0) as usize;
            format!("{:.digits$}{sign}", value / unit)
        };
        let label = |value: &f64| match largest {
            _ if value.abs() < self.step * 1e-6 => "0".to_owned(),
            x if !(1e-3..1e15).contains(&x) => {
                let digits = (exponent(*value) - exponent(self.step)).max(0) as usize;
                format!("{value:.digits$e}")
            }
            x if x >= 1e9 => plain(*value, 1e9, "B"),
            x if x >= 1e6 => plain(*value, 1e6, "M"),
            x if x >= 1e4 => plain(*value, 1e3, "k"),
            _ => plain(*value, 1.0, ""),
        };
        self.values.iter().map(label).collect()
    }
}

/// A number with at most six significant digits.
pub(crate) fn six_digits(value: f64) -> String {
    let rounded: f64 = format!("{value:.5e}").parse().unwrap_or(value);
    match rounded.abs() {
        0.0 => "0".to_owned(),
        1e-4..1e15 => format!("{rounded}"),
        _ => format!("{rounded:e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(low: f64, high: f64, least: f64) -> Vec<String> {
        Ticks::new((low, high), 6, least).labels()
    }

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(labels(0.0, 1.0, 0.0), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(
            labels(2.31, 2.94, 0.0),
            ["2.4", "2.5", "2.6", "2.7", "2.8", "2.9"]
        );
        assert_eq!(labels(1.0, 240.0, 1.0), ["50", "100", "150", "200"]);
        // Half a step is none.
        assert_eq!(labels(1.0, 3.0, 1.0), ["1", "2", "3"]);
        assert_eq!(labels(0.0, 40_000.0, 1.0), ["0", "10k", "20k", "30k", "40k"]);
        assert_eq!(
            labels(0.0, 2.5e6, 1.0),
            ["0", "0.5M", "1.0M", "1.5M", "2.0M", "2.5M"]
        );
        assert_eq!(labels(0.0, 3e-5, 0.0), ["0", "1e-5", "2e-5", "3e-5"]);
        assert_eq!(labels(-0.5, 0.5, 0.0), ["-0.4", "-0.2", "0", "0.2", "0.4"]);
    }

    #[test]
    fn numbers_are_short() {
        let texts = [1.0, 2.345_678_9, -0.25, 1e-6, 123_456_789.0, 0.0].map(six_digits);
        assert_eq!(texts, ["1", "2.34568", "-0.25", "1e-6", "123457000", "0"]);
    }
}
