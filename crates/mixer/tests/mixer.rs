//! Batches: phases, epochs, ranks, and what is refused.

mod released;

use std::collections::HashSet;

use proptest::prelude::*;
use smollm3_mixer::{
    MixError, Mixer, MixerConfig, Order, PhaseWeights, Pick, SourceInfo, SourceWindow, WindowOrder, Windows,
};

fn source(name: &str, windows: Option<u64>, max_epochs: f64) -> SourceInfo {
    SourceInfo {
        name: name.into(),
        windows: windows.map(Windows::Whole),
        max_epochs,
    }
}

/// Two phases of 60 and 41 sequences, steps of 8.
fn small() -> MixerConfig {
    MixerConfig {
        seed: 6,
        order: Order::Even,
        windows: WindowOrder::Permuted,
        sequence_length: 16,
        global_batch: 8,
        phases: vec![
            PhaseWeights {
                sequences: 60,
                weights: vec![(0, 0.5), (1, 0.3), (2, 0.2)],
            },
            PhaseWeights {
                sequences: 41,
                weights: vec![(2, 1.0), (3, 0.0), (0, 1.0)],
            },
        ],
        sources: vec![
            source("web", Some(60), 1.0),
            source("code", Some(7), 3.0),
            source("math", Some(16), 2.5),
            source("unused", None, 1.0),
        ],
    }
}

fn all(mixer: &Mixer) -> Vec<Pick> {
    mixer.sequences(0..u64::MAX).collect()
}

#[test]
fn counts_run_on_through_phases() {
    let mixer = Mixer::new(small()).unwrap();
    assert_eq!(mixer.steps(), 12);
    assert_eq!(mixer.counts_before_phase(0), [0, 0, 0, 0]);
    assert_eq!(mixer.counts_before_phase(1), [30, 18, 12, 0]);
    let picks = all(&mixer);
    assert_eq!(picks.len(), 101);
    let mut counts = vec![0; 4];
    for pick in &picks {
        assert_eq!(pick.ordinal, counts[pick.source]);
        counts[pick.source] += 1;
    }
    assert_eq!(mixer.counts_before_phase(2), counts);
    // The second phase starts its blend afresh.
    let sources: Vec<_> = picks[60..66].iter().map(|pick| pick.source).collect();
    assert_eq!(sources, [2, 0, 2, 0, 2, 0]);
}

#[test]
fn an_epoch_gives_each_window_once_and_the_next_in_another_order() {
    let picks = all(&Mixer::new(small()).unwrap());
    for (source, windows) in [(0, 60), (1, 7), (2, 16)] {
        let places: Vec<SourceWindow> = picks
            .iter()
            .filter(|pick| pick.source == source)
            .map(|pick| pick.place.unwrap())
            .collect();
        for (epoch, places) in places.chunks(windows).enumerate() {
            let distinct: HashSet<u64> = places.iter().map(|place| place.window).collect();
            assert_eq!(distinct.len(), places.len());
            assert!(distinct.iter().all(|&window| window < windows as u64));
            assert!(places.iter().all(|place| place.epoch == epoch as u64));
        }
        if places.len() >= 2 * windows {
            let window = |place: &SourceWindow| place.window;
            let (first, second) = (&places[..windows], &places[windows..2 * windows]);
            assert_ne!(
                first.iter().map(window).collect::<Vec<_>>(),
                second.iter().map(window).collect::<Vec<_>>()
            );
        }
    }
}

#[test]
fn seed_and_name_key_the_windows_but_not_the_blend() {
    let base = all(&Mixer::new(small()).unwrap());
    let reseeded = all(&Mixer::new(MixerConfig { seed: 7, ..small() }).unwrap());
    let mut renamed = small();
    renamed.sources[0].name = "prose".into();
    let renamed = all(&Mixer::new(renamed).unwrap());
    assert!(
        base.iter()
            .zip(&reseeded)
            .all(|(a, b)| (a.source, a.ordinal) == (b.source, b.ordinal))
    );
    assert!(base.iter().zip(&reseeded).any(|(a, b)| a.place != b.place));
    for (a, b) in base.iter().zip(&renamed).filter(|(a, _)| a.source != 0) {
        assert_eq!(a, b);
    }
    assert!(base.iter().zip(&renamed).any(|(a, b)| a.place != b.place));
}

#[test]
fn stored_order_reads_windows_as_they_lie() {
    for pick in all(&Mixer::new(MixerConfig {
        windows: WindowOrder::Stored,
        ..small()
    })
    .unwrap())
    {
        let windows = [60, 7, 16][pick.source];
        assert_eq!(
            pick.place,
            Some(SourceWindow {
                epoch: pick.ordinal / windows,
                window: pick.ordinal % windows
            })
        );
    }
}

#[test]
fn without_a_store_the_order_is_known_but_not_the_place() {
    let mut config = small();
    config.sources.iter_mut().for_each(|source| source.windows = None);
    let with = all(&Mixer::new(small()).unwrap());
    let without = all(&Mixer::new(config).unwrap());
    assert!(without.iter().all(|pick| pick.place.is_none()));
    assert!(
        with.iter()
            .zip(&without)
            .all(|(a, b)| (a.source, a.ordinal) == (b.source, b.ordinal))
    );
}

#[test]
fn greedy_batches_follow_the_original() {
    let stages = released::load().unwrap().phases;
    let names: Vec<&String> = stages[0].names.iter().collect();
    let mixer = Mixer::new(MixerConfig {
        order: Order::Greedy,
        global_batch: 40,
        phases: vec![PhaseWeights {
            sequences: 1000,
            weights: stages[0].weights.iter().copied().enumerate().collect(),
        }],
        sources: names.iter().map(|name| source(name, None, 1.0)).collect(),
        ..small()
    })
    .unwrap();
    for (index, batch) in mixer.batches(1).unwrap().enumerate() {
        let sources: Vec<_> = batch.iter().map(|pick| pick.source).collect();
        assert_eq!(sources, stages[0].first_picks[index * 40..(index + 1) * 40]);
    }
}

#[test]
fn a_greedy_step_costs_what_the_step_before_it_costs() {
    let config = |sequences| MixerConfig {
        order: Order::Greedy,
        global_batch: 10,
        phases: vec![
            PhaseWeights {
                sequences,
                weights: vec![(0, 0.31), (1, 0.07), (2, 0.62)],
            },
            PhaseWeights {
                sequences: 1005,
                weights: vec![(0, 0.3), (2, 0.7)],
            },
        ],
        sources: ["web", "code", "math"].map(|name| source(name, None, 1.0)).into(),
        ..small()
    };
    let mixer = Mixer::new(config(20_005)).unwrap();
    let last = mixer.steps();
    let mut computed = mixer.picks_computed();
    let mut cost = |step| {
        mixer.batch(step).unwrap();
        mixer.picks_computed() - std::mem::replace(&mut computed, mixer.picks_computed())
    };
    // To the end of the first phase, across it (its counts are known by then) and to the end of the stage.
    assert_eq!(cost(1990), 19_900);
    for step in 1991..=2000 {
        assert_eq!(cost(step), 10, "{step}");
    }
    assert_eq!(cost(2001), 10);
    for step in 2002..=last {
        assert_eq!(cost(step), 10, "{step}");
    }
    // A reader that asks for a step ahead before its own, as streamed stores do.
    let mixer = Mixer::new(config(20_005)).unwrap();
    mixer.batch(1000).unwrap();
    let started = mixer.picks_computed();
    for step in 1001..=1100 {
        mixer.batch(step + 32).unwrap();
        mixer.batch(step).unwrap();
    }
    assert_eq!(mixer.picks_computed() - started, 2 * 1000 + 320);
}

#[test]
fn too_little_data_is_found_at_once_and_named() {
    // The stage reads 18 windows of "code", 7 of which exist.
    let mut config = small();
    config.sources[1].max_epochs = 2.5;
    let error = Mixer::new(config.clone()).unwrap_err();
    assert_eq!(
        error,
        MixError::TooLittleData {
            name: "code".into(),
            needed: 18 * 16,
            there: 7 * 16,
            epochs: 2.5,
            epochs_needed: 2.58,
        }
    );
    assert_eq!(
        error.to_string(),
        "source \"code\" must give 288 tokens, but it holds 112 and may be read 2.5 times: lower its weight, \
         shorten the stage, add data, or allow 2.58 epochs"
    );
    // 18/7 = 2.571…, so 2.57 epochs are 17.99 windows, and 2.58 are enough.
    config.sources[1].max_epochs = 2.57;
    assert!(Mixer::new(config.clone()).is_err());
    config.sources[1].max_epochs = 2.58;
    assert!(Mixer::new(config.clone()).is_ok());
    config.sources[1].windows = Some(Windows::Whole(0));
    assert_eq!(
        Mixer::new(config).unwrap_err(),
        MixError::NoData {
            name: "code".into(),
            needed: 288
        }
    );
}

/// The greedy order's quick bound is up to two windows a phase too high; near the limit it must
/// give way to the exact count.
#[test]
fn greedy_data_are_counted_exactly_near_the_limit() {
    let greedy = MixerConfig {
        order: Order::Greedy,
        ..small()
    };
    let needed = Mixer::new(greedy.clone()).unwrap().counts_before_phase(2);
    for (source, &needed) in needed.iter().enumerate().take(3) {
        let mut config = greedy.clone();
        config.sources[source].max_epochs = 1.0;
        config.sources[source].windows = Some(Windows::Whole(needed));
        assert!(Mixer::new(config.clone()).is_ok());
        config.sources[source].windows = Some(Windows::Whole(needed - 1));
        assert!(matches!(Mixer::new(config), Err(MixError::TooLittleData { .. })));
    }
}

#[test]
fn exactly_enough_data_is_enough() {
    let mut config = small();
    config.sources[0].windows = Some(Windows::Whole(50));
    // 30 in the first phase, 20 of 41 in the second: "math" goes first.
    assert!(Mixer::new(config.clone()).is_ok());
    config.sources[0].windows = Some(Windows::Whole(49));
    assert!(matches!(
        Mixer::new(config),
        Err(MixError::TooLittleData {
            needed: 800,
            there: 784,
            ..
        })
    ));
}

#[test]
fn steps_and_splits_out_of_range_are_refused() {
    let mixer = Mixer::new(small()).unwrap();
    for step in [0, 13] {
        assert_eq!(mixer.batch(step), Err(MixError::Step { step, last: 12 }));
        assert!(mixer.batches(step).is_err());
    }
    assert_eq!(
        mixer.slice(1, 0, 3, 1),
        Err(MixError::Split {
            global_batch: 8,
            world: 3,
            micro_batch: 1
        })
    );
    assert_eq!(
        mixer.slice(1, 0, u64::MAX, 2),
        Err(MixError::Split {
            global_batch: 8,
            world: u64::MAX,
            micro_batch: 2
        })
    );
    assert_eq!(mixer.slice(1, 2, 2, 1), Err(MixError::Rank { rank: 2, world: 2 }));
    assert_eq!(
        mixer.slice(1, 0, 0, 1),
        Err(MixError::Zero {
            what: "the world size"
        })
    );
    assert_eq!(
        mixer.slice(1, 0, 1, 0),
        Err(MixError::Zero {
            what: "the micro-batch"
        })
    );
}

#[test]
fn accumulation_is_the_outer_order() {
    let mixer = Mixer::new(small()).unwrap();
    let batch = mixer.batch(5).unwrap();
    assert_eq!(mixer.slice(5, 0, 2, 2).unwrap(), [&batch[0..2], &batch[4..6]]);
    assert_eq!(mixer.slice(5, 1, 2, 2).unwrap(), [&batch[2..4], &batch[6..8]]);
}

#[test]
fn bad_configurations_are_refused_by_name() {
    type Change = fn(&mut MixerConfig);
    let phase = |phase, error| MixError::Phase {
        phase,
        error: Box::new(error),
    };
    let cases: [(Change, MixError); 11] = [
        (
            |c| c.global_batch = 0,
            MixError::Zero {
                what: "the global batch",
            },
        ),
        (
            |c| c.sequence_length = 0,
            MixError::Zero {
                what: "the sequence length",
            },
        ),
        (
            |c| c.phases.clear(),
            MixError::Zero {
                what: "the number of phases",
            },
        ),
        (|c| c.phases[0].sequences = u64::MAX, MixError::TooLong),
        (
            |c| c.sources[1].name = "web".into(),
            MixError::SourceName { name: "web".into() },
        ),
        (
            |c| c.sources[1].max_epochs = 0.0,
            MixError::Epochs {
                name: "code".into(),
                epochs: 0.0,
            },
        ),
        (
            |c| c.phases[1].weights[0].1 = -1.0,
            phase(
                1,
                MixError::SourceWeight {
                    name: "math".into(),
                    weight: -1.0,
                },
            ),
        ),
        (
            |c| c.phases[1].weights[0].0 = 0,
            phase(1, MixError::DuplicateSource { name: "web".into() }),
        ),
        (
            |c| c.phases[1].weights[0].0 = 4,
            phase(
                1,
                MixError::UnknownSource {
                    source_index: 4,
                    sources: 4,
                },
            ),
        ),
        (
            |c| c.phases[1].weights.iter_mut().for_each(|w| w.1 = 0.0),
            phase(1, MixError::Empty),
        ),
        (
            |c| c.phases[0].weights = vec![(0, 1.0), (2, 2f64.powi(-31))],
            phase(
                0,
                MixError::SourceShare {
                    name: "math".into(),
                    share: 2f64.powi(-31) / (1.0 + 2f64.powi(-31)),
                },
            ),
        ),
    ];
    for (change, expected) in cases {
        let mut config = small();
        change(&mut config);
        assert_eq!(Mixer::new(config).unwrap_err().to_string(), expected.to_string());
    }
}

/// Random stages: weights, two phases, batch = world · micro · accumulation.
fn stages() -> impl Strategy<Value = (MixerConfig, u64, u64)> {
    (
        prop::collection::vec((0.01f64..10.0, 1u64..500), 1..8),
        (1u64..5, 1u64..4, 1u64..4),
        (0u64..300, 0u64..300),
        any::<u64>(),
        prop::bool::ANY,
    )
        .prop_map(
            |(sources, (world, micro_batch, accumulation), (first, second), seed, greedy)| {
                let phase = |sequences, scale: f64| PhaseWeights {
                    sequences,
                    weights: sources
                        .iter()
                        .enumerate()
                        .map(|(j, s)| (j, s.0.powf(scale)))
                        .collect(),
                };
                let config = MixerConfig {
                    seed,
                    order: if greedy { Order::Greedy } else { Order::Even },
                    windows: WindowOrder::Permuted,
                    sequence_length: 8,
                    global_batch: world * micro_batch * accumulation,
                    phases: vec![phase(first + 36, 1.0), phase(second, 0.3)],
                    sources: sources
                        .iter()
                        .enumerate()
                        .map(|(j, s)| source(&format!("s{j}"), Some(s.1), 1e6))
                        .collect(),
                };
                (config, world, micro_batch)
            },
        )
}

proptest! {
    #[test]
    fn the_union_over_ranks_is_the_batch((config, world, micro_batch) in stages(), at: prop::sample::Index) {
        let mixer = Mixer::new(config).unwrap();
        let step = 1 + at.index(mixer.steps() as usize) as u64;
        let batch = mixer.batch(step).unwrap();
        let slices: Vec<_> =
            (0..world).map(|rank| mixer.slice(step, rank, world, micro_batch).unwrap()).collect();
        let mut union = Vec::new();
        for accumulation in 0..slices[0].len() {
            for slice in &slices {
                prop_assert_eq!(slice[accumulation].len() as u64, micro_batch);
                union.extend_from_slice(&slice[accumulation]);
            }
        }
        prop_assert_eq!(union, batch);
    }

    #[test]
    fn resuming_at_any_step_equals_running_on((config, _, _) in stages(), at: prop::sample::Index) {
        let run: Vec<_> = Mixer::new(config.clone()).unwrap().batches(1).unwrap().collect();
        let resumed = Mixer::new(config).unwrap();
        let step = 1 + at.index(run.len());
        prop_assert_eq!(&resumed.batch(step as u64).unwrap(), &run[step - 1]);
        prop_assert_eq!(resumed.batches(step as u64).unwrap().collect::<Vec<_>>(), &run[step - 1..]);
    }

    #[test]
    fn steps_in_any_order_by_any_thread_are_those_of_the_run(
        (config, _, _) in stages(),
        order in prop::collection::vec(any::<prop::sample::Index>(), 1..40),
    ) {
        let run: Vec<_> = Mixer::new(config.clone()).unwrap().batches(1).unwrap().collect();
        let mixer = Mixer::new(config).unwrap();
        let steps: Vec<usize> = order.iter().map(|at| at.index(run.len())).collect();
        std::thread::scope(|scope| {
            for steps in steps.chunks(steps.len().div_ceil(3)) {
                let (mixer, run) = (&mixer, &run);
                scope.spawn(move || {
                    for step in steps {
                        assert_eq!(mixer.batch(*step as u64 + 1).unwrap(), run[*step]);
                    }
                });
            }
        });
    }

    #[test]
    fn nothing_is_seen_twice_before_its_epoch_is_full((config, _, _) in stages()) {
        let windows: Vec<u64> = config.sources.iter().map(|source| source.windows.as_ref().unwrap().count()).collect();
        let mut seen = HashSet::new();
        for pick in Mixer::new(config).unwrap().sequences(0..u64::MAX) {
            let place = pick.place.unwrap();
            prop_assert!(place.window < windows[pick.source]);
            prop_assert_eq!(place.epoch, pick.ordinal / windows[pick.source]);
            prop_assert!(seen.insert((pick.source, place)));
        }
    }
}
