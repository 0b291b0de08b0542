use smollm3_corpus::store::{TokenWidth, human_count};

#[test]
fn width_follows_the_vocabulary() {
    assert_eq!(TokenWidth::for_vocab(65_536), TokenWidth::U16);
    assert_eq!(TokenWidth::for_vocab(65_537), TokenWidth::U32);
}

/// Right-hand sides: Python's `humanize.metric(n, unit="T")`, humanize 4.17.0.
#[test]
fn counts_for_people_equal_humanize() {
    for (tokens, text) in [
        (0, "0.00 T"),
        (9, "9.00 T"),
        (118, "118 T"),
        (999, "999 T"),
        (1_005, "1.00 kT"),
        (1_000, "1.00 kT"),
        (9_994, "9.99 kT"),
        (9_996, "10.0 kT"),
        (99_949, "99.9 kT"),
        (99_960, "100 kT"),
        (999_499, "999 kT"),
        (999_600, "1.00 MT"),
        (12_345_678, "12.3 MT"),
        (11_200_000_000_000, "11.2 TT"),
    ] {
        assert_eq!(human_count(tokens), text, "{tokens}");
    }
}
