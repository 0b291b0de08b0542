//! nanotron's blend, to the bit.

mod released;

use smollm3_mixer::{Greedy, MixError};

fn sources(weights: &[f64], picks: u64) -> Vec<usize> {
    Greedy::new(weights)
        .unwrap()
        .picks(0..picks)
        .map(|(source, _)| source)
        .collect()
}

#[test]
fn worked_example() {
    let expected = [0, 1, 2, 0, 1, 0, 2, 0, 1, 0, 0, 1, 2, 0, 1, 0, 2, 0, 1, 0];
    assert_eq!(sources(&[0.5, 0.3, 0.2], 20), expected);
    assert_eq!(sources(&[5.0, 3.0, 2.0], 20), expected);
}

#[test]
fn first_forty_picks_of_stage_one() {
    let stage = &released::load().unwrap().phases[0];
    let expected = [
        1, 0, 21, 1, 0, 7, 1, 0, 2, 1, 0, 6, 1, 0, 25, 1, 0, 1, 20, 0, 1, 5, 0, 1, 22, 0, 1, 23, 1, 0, 8, 1,
        0, 9, 1, 0, 10, 1, 0, 1,
    ];
    assert_eq!(sources(&stage.weights, 40), expected);
    assert_eq!(
        (stage.names[0].as_str(), stage.names[1].as_str()),
        ("fineweb-edu", "dclm")
    );
}

#[test]
fn released_stages_equal_the_original() {
    for stage in released::load().unwrap().phases {
        let greedy = Greedy::new(&stage.weights).unwrap();
        assert_eq!(sources(&stage.weights, 1000), stage.first_picks, "{}", stage.name);
        assert_eq!(greedy.counts(57_600), stage.counts_57600, "{}", stage.name);
    }
}

#[test]
fn rare_sources_come_late() {
    let stages = released::load().unwrap().phases;
    let vietnamese = stages[1].names.iter().position(|name| name == "fw2-vie").unwrap();
    let first = sources(&stages[1].weights, 10_000)
        .iter()
        .position(|&source| source == vietnamese);
    assert_eq!(first, Some(6204));
}

#[test]
fn replay_equals_running_on() {
    let greedy = Greedy::new(&[0.31, 0.07, 0.62, 0.001]).unwrap();
    let all: Vec<_> = greedy.picks(0..5000).collect();
    assert_eq!(greedy.picks(1234..5000).collect::<Vec<_>>(), all[1234..]);
    let mut counts = vec![0; 4];
    for &(source, ordinal) in &all {
        assert_eq!(ordinal, counts[source]);
        counts[source] += 1;
    }
    assert_eq!(greedy.counts(5000), counts);
}

#[test]
fn a_range_costs_its_own_picks_after_the_one_before_it() {
    let greedy = Greedy::new(&[0.31, 0.07, 0.62, 0.001]).unwrap();
    let mut computed = 0;
    let mut cost = |range: std::ops::Range<u64>| {
        assert_eq!(
            greedy.picks(range.clone()).count() as u64,
            range.end - range.start
        );
        greedy.computed() - std::mem::replace(&mut computed, greedy.computed())
    };
    // A jump is paid for once.
    assert_eq!(cost(100_000..100_050), 100_050);
    assert_eq!(cost(100_050..100_100), 50);
    assert_eq!(cost(100_100..100_150), 50);
    // The same again, and two readers of which one is ahead.
    assert_eq!(cost(100_100..100_150), 50);
    assert_eq!(cost(100_400..100_450), 300);
    for step in 0..100 {
        let begin = 100_150 + 50 * step;
        assert_eq!(cost(begin..begin + 50), 50, "{begin}");
        assert_eq!(cost(begin + 300..begin + 350), 50, "{begin}");
    }
}

#[test]
fn going_back_replays_a_million_picks_at_most() {
    const MILLION: u64 = 1 << 20;
    let greedy = Greedy::new(&[0.31, 0.07, 0.62]).unwrap();
    let after = |start: u64| greedy.picks(start..start + 3).collect::<Vec<_>>();
    let far = 2 * MILLION + 500_000;
    let known: Vec<_> = [700, MILLION - 1, MILLION, 2 * MILLION + 7, far]
        .map(after)
        .into();
    // Only the two picks from a million on are computed twice.
    assert_eq!(greedy.computed(), far + 3 + 2);
    // More ends of other ranges than are kept.
    (0..20).for_each(|i| drop(after(far + 1000 + i * 100)));
    let computed = greedy.computed();
    assert_eq!(after(MILLION + 10).len(), 3);
    assert_eq!(greedy.computed() - computed, 13);
    for (start, known) in [700, MILLION - 1, MILLION, 2 * MILLION + 7, far]
        .into_iter()
        .zip(known)
    {
        let computed = greedy.computed();
        assert_eq!(after(start), known);
        assert!(greedy.computed() - computed <= MILLION + 3, "{start}");
    }
}

#[test]
fn the_bound_holds_without_replay() {
    for stage in released::load().unwrap().phases {
        let greedy = Greedy::new(&stage.weights).unwrap();
        for i in [0, 1, 2, 100, 57_600] {
            let exact = greedy.counts(i);
            for (count, at_most) in exact.iter().zip(greedy.at_most(i)) {
                assert!(
                    *count <= at_most && at_most <= count + 4,
                    "{count} of {at_most} after {i}"
                );
            }
        }
    }
}

#[test]
fn bad_weights_are_refused() {
    let refused = |weights: &[f64]| Greedy::new(weights).unwrap_err();
    assert_eq!(refused(&[]), MixError::Empty);
    assert_eq!(
        refused(&[1.0, -1.0]),
        MixError::Weight {
            source_index: 1,
            weight: -1.0
        }
    );
    assert_eq!(refused(&[f64::MAX, f64::MAX]), MixError::WeightSum);
}
