//! All operations among threads and alone: values to the bit, counted traffic, and what a missing rank gives.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use smollm3_collective::{Collective, CollectiveError, Reduction, Single, Threads};
use support::{LENGTHS, assert_bits, check, values};

const LIMIT: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(200);

#[test]
fn threads_give_the_bits_of_a_serial_sum() {
    for world in 1..=5 {
        let run = || -> Vec<u64> {
            let hashes = Threads::run(world, LIMIT, |ranks| -> Vec<u64> {
                LENGTHS.map(|length| check(&ranks, length as u64, length)).into()
            });
            assert!(
                hashes.iter().all(|of_rank| *of_rank == hashes[0]),
                "all ranks have the same bits"
            );
            hashes.into_iter().flatten().collect()
        };
        assert_eq!(run(), run(), "two runs of {world} ranks");
    }
}

#[test]
fn a_rank_alone_keeps_its_values() {
    let single = Single::default();
    for length in LENGTHS {
        check(&single, 7, length);
    }
    assert_eq!(single.traffic().sent, 0);
    single.finish().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_length_and_world(world in 1usize..=5, length in 0usize..3000, seed in 0u64..1000) {
        Threads::run(world, LIMIT, |ranks| { check(&ranks, seed, length); });
    }
}

#[test]
fn a_nan_anywhere_is_seen_everywhere() {
    Threads::run(3, LIMIT, |ranks| {
        for reduction in [Reduction::Sum, Reduction::Max, Reduction::Min] {
            let mut number = [if ranks.rank() == 1 { f64::NAN } else { 1.0 }];
            ranks.all_reduce_f64(&mut number, reduction).unwrap();
            assert!(number[0].is_nan(), "{reduction:?}");
        }
        let mut values = [1.0, if ranks.rank() == 2 { f32::INFINITY } else { 1.0 }];
        ranks.all_reduce(&mut values).unwrap();
        assert_eq!(values, [3.0, f32::INFINITY]);
    });
}

#[test]
fn traffic_is_what_was_sent_to_others() {
    let traffic = Threads::run(4, LIMIT, |ranks| {
        ranks.all_reduce(&mut vec![1.0; 1000]).unwrap();
        let reduced = ranks.traffic();
        ranks.all_gather(&mut vec![1.0; 100], &[10, 20, 30, 40]).unwrap();
        (reduced, ranks.traffic())
    });
    for (rank, (reduced, gathered)) in traffic.into_iter().enumerate() {
        // 250 elements to each of three others and from them, in each half of the sum.
        assert_eq!(
            (reduced.operations, reduced.sent, reduced.received),
            (1, 6000, 6000)
        );
        let own = 10 * (rank as u64 + 1);
        assert_eq!((gathered.operations, gathered.sent - 6000), (2, 3 * 4 * own));
        assert_eq!(gathered.received - 6000, 4 * (100 - own));
        assert!(gathered.time > reduced.time && reduced.time > Duration::ZERO);
    }
}

#[test]
fn a_late_rank_is_named_by_all_others() {
    let begin = Instant::now();
    let errors = Threads::run(4, SHORT, |ranks| {
        ranks.barrier().unwrap();
        if ranks.rank() == 2 {
            thread::sleep(SHORT * 4);
            return None;
        }
        Some(
            ranks
                .all_reduce(&mut values(1, ranks.rank(), 10))
                .unwrap_err()
                .to_string(),
        )
    });
    let expected = "rank 2 (thread 2) has not arrived within 200ms at exchange 2, part of all_reduce";
    assert_eq!(errors.iter().flatten().collect::<Vec<_>>(), [expected; 3]);
    assert!(begin.elapsed() < SHORT * 10);
}

#[test]
fn all_late_ranks_are_named() {
    let errors = Threads::run(4, SHORT, |ranks| {
        if ranks.rank() % 2 == 1 {
            thread::sleep(SHORT * 4);
            return None;
        }
        Some(ranks.barrier().unwrap_err())
    });
    for error in errors.into_iter().flatten() {
        let CollectiveError::Late { ranks, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(ranks.iter().map(|(rank, _)| *rank).collect::<Vec<_>>(), [1, 3]);
    }
}

#[test]
fn a_rank_that_ends_early_is_known_at_once() {
    let begin = Instant::now();
    let errors = Threads::run(3, LIMIT, |ranks| match ranks.rank() {
        1 => None,
        _ => Some(ranks.barrier().unwrap_err().to_string()),
    });
    let expected = "rank 1 (thread 1) ended while others waited for it in barrier";
    assert_eq!(errors.iter().flatten().collect::<Vec<_>>(), [expected; 2]);
    assert!(begin.elapsed() < LIMIT / 2);
}

#[test]
fn a_panic_ends_the_wait_of_the_others() {
    let told = AtomicUsize::new(0);
    let panics = std::panic::catch_unwind(|| {
        Threads::run(3, LIMIT, |ranks| {
            assert!(ranks.rank() != 1, "on purpose");
            if let Err(CollectiveError::Ended { rank: 1, .. }) = ranks.barrier() {
                told.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    assert!(panics.is_err());
    assert_eq!(told.into_inner(), 2);
}

#[test]
fn abort_is_seen_by_the_others() {
    Threads::run(3, LIMIT, |ranks| {
        if ranks.rank() == 0 {
            ranks.abort("cannot go on");
        }
        let error = ranks.barrier().unwrap_err();
        assert!(matches!(error, CollectiveError::Ended { rank: 0, .. }), "{error}");
    });
}

#[test]
fn a_barrier_may_wait_longer_than_the_rest() {
    Threads::run(2, SHORT, |ranks| {
        if ranks.rank() == 0 {
            thread::sleep(SHORT * 2);
        }
        ranks.barrier_within(LIMIT).unwrap();
        ranks.finish().unwrap();
    });
}

#[test]
fn ranks_that_do_not_do_the_same_are_told() {
    let errors = Threads::run(2, SHORT, |ranks| {
        ranks
            .all_reduce(&mut vec![0.0; 10 + 2 * ranks.rank()])
            .unwrap_err()
            .to_string()
    });
    assert!(
        errors[0].starts_with("rank 1 (thread 1) sent 24 bytes in all_reduce where 20 were expected"),
        "{errors:?}"
    );
}

#[test]
fn shards_that_do_not_fit_are_refused_before_anything_is_sent() {
    let single = Single::default();
    let mut values = [1.0, 2.0];
    for counts in [&[1][..], &[1, 1], &[], &[3], &[usize::MAX]] {
        let error = single
            .reduce_scatter(&mut values, counts)
            .unwrap_err()
            .to_string();
        let expected =
            format!("shards of {counts:?} elements for 1 ranks do not make up the 2 elements given");
        assert_eq!(error, format!("reduce_scatter: {expected}"));
        assert!(single.all_gather(&mut values, counts).is_err());
    }
    Threads::run(2, LIMIT, |ranks| {
        assert!(ranks.all_gather(&mut [0.0; 4], &[usize::MAX, 5]).is_err());
        let error = ranks.broadcast(&mut [0.0], 2).unwrap_err().to_string();
        assert_eq!(
            error,
            "broadcast: there is no rank 2 among 2, which are counted from 0"
        );
    });
    assert_bits(&values, &[1.0, 2.0], "left alone");
}
