//! Quantities: what they read, what they print, and what they say about anything else.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use proptest::prelude::*;
use serde::Deserialize;
use smollm3_recipe::{BatchSize, Bytes, ContextLength, Percent, Sequences, Span, Steps, Tokens, UnitError};

fn read<T: FromStr<Err = UnitError>>(text: &str) -> T {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refusal<T: FromStr<Err = UnitError> + Debug>(text: &str) -> String {
    text.parse::<T>().unwrap_err().to_string()
}

#[test]
fn tokens() {
    for (text, value) in [
        ("8T", 8_000_000_000_000),
        ("11.1T", 11_100_000_000_000),
        ("50B", 50_000_000_000),
        ("3M", 3_000_000),
        ("500k", 500_000),
        ("2359296 tokens", 2_359_296),
        ("2_359_296 tokens", 2_359_296),
        ("2.359296M tokens", 2_359_296),
        ("1 token", 1),
        (" 8 T ", 8_000_000_000_000),
        ("11.13587712T", 11_135_877_120_000),
        ("18446744073709551615 tokens", u64::MAX),
    ] {
        assert_eq!(read::<Tokens>(text), Tokens(value), "{text}");
    }
    assert_eq!(Tokens(11_100_000_000_000).to_string(), "11.1T");
    assert_eq!(Tokens(2_359_296).to_string(), "2.359296M");
    assert_eq!(Tokens(1).to_string(), "1 token");
}

#[test]
fn a_context_counts_in_powers_of_two() {
    for (text, value) in [
        ("4k", 4_096),
        ("64k", 65_536),
        ("128k", 131_072),
        ("1M", 1_048_576),
        ("256", 256),
        ("4096 tokens", 4_096),
    ] {
        assert_eq!(read::<ContextLength>(text), ContextLength(value), "{text}");
    }
    assert_eq!(ContextLength(65_536).to_string(), "64k");
    assert_eq!(ContextLength(1_000).to_string(), "1000");
    assert_eq!(ContextLength(0).to_string(), "0");
}

#[test]
fn spans_and_batches_keep_their_unit() {
    assert_eq!(read::<Span>("2000 steps"), Span::Steps(Steps(2_000)));
    assert_eq!(read::<Span>("10%"), Span::Percent(Percent::new(10).unwrap()));
    assert_eq!(read::<Span>("50B"), Span::Tokens(Tokens(50_000_000_000)));
    assert_eq!(
        read::<BatchSize>("576 sequences"),
        BatchSize::Sequences(Sequences(576))
    );
    assert_eq!(
        read::<BatchSize>("2.359296M"),
        BatchSize::Tokens(Tokens(2_359_296))
    );
    assert_eq!(read::<Bytes>("20MB"), Bytes(20_000_000));
}

#[test]
fn spans_in_steps_are_the_nearest() {
    let per_step = 2_359_296;
    assert_eq!(read::<Span>("8T").steps(per_step, 0), 3_390_842);
    // 10T is 4,238,552.5 steps and a little.
    assert_eq!(read::<Span>("10T").steps(per_step, 0), 4_238_553);
    assert_eq!(read::<Span>("11.1T").steps(per_step, 0), 4_704_793);
    assert_eq!(read::<Span>("10%").steps(per_step, 4_704_793), 470_479);
    assert_eq!(read::<Span>("0.5%").steps(per_step, 1_000), 5);
    assert_eq!(read::<Span>("100%").steps(per_step, u64::MAX), u64::MAX);
    assert_eq!(read::<Span>("7 steps").steps(per_step, 1), 7);
    // Halves go up, whether the step is odd or even.
    assert_eq!(Span::Tokens(Tokens(3)).steps(2, 0), 2);
    assert_eq!(Span::Tokens(Tokens(7)).steps(5, 0), 1);
    assert_eq!(Span::Tokens(Tokens(8)).steps(5, 0), 2);
    assert_eq!(Span::Tokens(Tokens(u64::MAX)).steps(1, 0), u64::MAX);
}

#[test]
fn refusals_say_what_to_write() {
    for (message, expected) in [
        (refusal::<Tokens>("8"), "has no unit"),
        (refusal::<Tokens>("8X"), "has an unknown unit"),
        (refusal::<Tokens>("8t"), "has an unknown unit"),
        (refusal::<Tokens>("T"), "is not a number"),
        (refusal::<Tokens>("1.2.3T"), "is not a number"),
        (refusal::<Tokens>("1_T"), "is not a number"),
        (refusal::<Tokens>("1.0005k"), "is not a whole number"),
        (refusal::<Tokens>("99999999T"), "more than can be counted"),
        (refusal::<Tokens>("-3T"), "unknown unit"),
        (refusal::<Tokens>(""), "has no unit"),
    ] {
        assert!(message.contains(expected), "{message}");
        assert!(message.contains("\"8T\""), "{message}");
    }
    assert!(refusal::<Steps>("2000").contains("\"2000 steps\""));
    assert!(refusal::<Steps>("2.5 steps").contains("whole number"));
    assert!(refusal::<Steps>("5 sequences").contains("unknown unit"));
    assert!(refusal::<Sequences>("576").contains("\"576 sequences\""));
    assert!(refusal::<ContextLength>("4K").contains("\"4k\""));
    assert!(refusal::<ContextLength>("99999999999999999M").contains("more than can be counted"));
    assert!(refusal::<Percent>("101%").contains("100%"));
    assert!(refusal::<Percent>("99999%").contains("100%"));
    assert!(refusal::<Percent>("10").contains("\"10%\""));
    assert!(refusal::<Span>("10").contains("\"2000 steps\""));
    assert!(refusal::<BatchSize>("576").contains("\"576 sequences\""));
    assert!(refusal::<Bytes>("20M").contains("\"20MB\""));
}

#[derive(Debug, Deserialize)]
struct Units<T> {
    value: T,
}

fn from_toml<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, String> {
    toml::from_str::<Units<T>>(&format!("value = {text}"))
        .map(|line| line.value)
        .map_err(|error| error.message().to_owned())
}

#[test]
fn in_toml_a_bare_number_is_refused_except_for_a_context() {
    assert_eq!(from_toml::<Tokens>("\"8T\""), Ok(Tokens(8_000_000_000_000)));
    assert!(
        from_toml::<ContextLength>("0")
            .unwrap_err()
            .contains("cannot have 0 tokens")
    );
    assert_eq!(from_toml::<ContextLength>("4096"), Ok(ContextLength(4_096)));
    assert!(from_toml::<ContextLength>("-1").is_err());
    for message in [
        from_toml::<Tokens>("8").unwrap_err(),
        from_toml::<Steps>("2000").unwrap_err(),
        from_toml::<BatchSize>("576").unwrap_err(),
        from_toml::<Span>("0.1").unwrap_err(),
    ] {
        assert!(message.contains("has no unit; write"), "{message}");
    }
    assert!(from_toml::<Steps>("true").unwrap_err().contains("\"2000 steps\""));
}

/// Prints and reads `value` again.
fn round_trip<T: Display + FromStr<Err = UnitError>>(value: &T) -> T {
    read(&value.to_string())
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(number: u64, context: u64, micro in 0..=100_u32) {
        prop_assert_eq!(round_trip(&Tokens(number)), Tokens(number));
        prop_assert_eq!(round_trip(&Steps(number)), Steps(number));
        prop_assert_eq!(round_trip(&Sequences(number)), Sequences(number));
        prop_assert_eq!(round_trip(&Bytes(number)), Bytes(number));
        prop_assert_eq!(round_trip(&ContextLength(context)), ContextLength(context));
        let percent = Percent::new(micro).unwrap();
        prop_assert_eq!(round_trip(&percent), percent);
        for span in [Span::Tokens(Tokens(number)), Span::Steps(Steps(number)), Span::Percent(percent)] {
            prop_assert_eq!(round_trip(&span), span);
        }
        for batch in [BatchSize::Tokens(Tokens(number)), BatchSize::Sequences(Sequences(number))] {
            prop_assert_eq!(round_trip(&batch), batch);
        }
    }

    #[test]
    fn decimals_are_exact(whole in 0..1_000_000_u64, fraction in 0..1_000_000_000_u64) {
        let text = format!("{whole}.{fraction:09}B");
        prop_assert_eq!(read::<Tokens>(&text), Tokens(whole * 1_000_000_000 + fraction));
    }

    #[test]
    fn a_percentage_prints_its_decimals(micro in 0..=100_000_000_u64) {
        let text = format!("{}.{:06}%", micro / 1_000_000, micro % 1_000_000);
        let percent: Percent = read(&text);
        prop_assert_eq!(round_trip(&percent), percent);
        prop_assert!((percent.fraction() - micro as f64 / 1e8).abs() < 1e-15);
    }

    #[test]
    fn no_text_brings_it_down(text in "\\PC{0,24}") {
        let _ = text.parse::<Tokens>();
        let _ = text.parse::<ContextLength>();
        let _ = text.parse::<Span>();
        let _ = text.parse::<BatchSize>();
        let _ = text.parse::<Bytes>();
    }
}
