//! How often ranks talk in a step: two exchanges of a few numbers, beside those of gradients and weights.

#[path = "../../engine/tests/support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use smollm3_collective::{Collective, Meter, Threads};
use smollm3_engine::{EngineError, Result, Run};
use smollm3_pretrain::pretrain;
use smollm3_records::{Event, Listener};
use support::{STEPS, recipe};

const LIMIT: Duration = Duration::from_secs(120);

/// The operations of a rank, one entry an exchange, in their order.
type Exchanges = Arc<Mutex<Vec<&'static str>>>;

/// Ranks that write down what they exchange, but for gradients and weights, which go out in buckets.
struct Counted {
    ranks: Threads,
    exchanges: Exchanges,
}

impl Collective for Counted {
    fn rank(&self) -> usize {
        self.ranks.rank()
    }

    fn world(&self) -> usize {
        self.ranks.world()
    }

    fn place(&self, rank: usize) -> String {
        self.ranks.place(rank)
    }

    fn time_limit(&self) -> Duration {
        self.ranks.time_limit()
    }

    fn meter(&self) -> &Meter {
        self.ranks.meter()
    }

    fn exchange(
        &self,
        operation: &'static str,
        limit: Duration,
        send: &[&[u8]],
        receive: &mut [&mut [u8]],
    ) -> smollm3_collective::Result<()> {
        if !["reduce_scatter", "all_gather"].contains(&operation) {
            self.exchanges.lock().unwrap().push(operation);
        }
        self.ranks.exchange(operation, limit, send, receive)
    }

    fn finish(&self) -> smollm3_collective::Result<()> {
        self.ranks.finish()
    }

    fn abort(&self, reason: &str) {
        self.ranks.abort(reason);
    }
}

/// What has been exchanged up to each step, and a stop that rank 1 asks for after one of them.
struct Watch<'a> {
    rank: usize,
    exchanges: Exchanges,
    steps: Vec<(u64, Vec<&'static str>)>,
    stop: &'a AtomicBool,
    stop_after: u64,
}

impl Listener for Watch<'_> {
    fn on(&mut self, event: &Event) -> smollm3_records::Result<()> {
        if let Event::Step(record) = event {
            let before = std::mem::take(&mut *self.exchanges.lock().unwrap());
            self.steps.push((record.step, before));
            if self.rank == 1 && record.step == self.stop_after {
                self.stop.store(true, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

/// Exchanges before each step's end, and those after the last; how the run ended.
type Seen = (Vec<(u64, Vec<&'static str>)>, Vec<&'static str>, Result<()>);

fn run(world: usize, overrides: &[&str], stop_after: u64) -> Vec<Seen> {
    let shared = [
        "stage.pretrain.global_batch=8 sequences",
        "stage.pretrain.checkpoint.every=100 steps",
    ];
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), "flex", &[&shared[..], overrides].concat());
    Threads::run(world, LIMIT, |ranks| {
        let (exchanges, stop) = (Exchanges::default(), AtomicBool::new(false));
        let mut watch = Watch {
            rank: ranks.rank(),
            exchanges: Arc::clone(&exchanges),
            steps: Vec::new(),
            stop: &stop,
            stop_after,
        };
        let ranks = Counted {
            ranks,
            exchanges: Arc::clone(&exchanges),
        };
        let run = Run::open_as(Arc::new(ranks), None, recipe.clone(), &mut watch).unwrap();
        let ended = pretrain(&run, &run.recipe.stages[0], &stop, &mut watch);
        let rest = std::mem::take(&mut *exchanges.lock().unwrap());
        (watch.steps, rest, ended)
    })
}

#[test]
fn two_exchanges_a_step_whatever_is_sharded() {
    for sharding in ["optimizer", "gradients"] {
        let sharding = format!("run.shard={sharding}");
        for world in [2, 4] {
            let seen = run(
                world,
                &[&sharding, "stage.pretrain.micro_batch=1 sequences"],
                u64::MAX,
            );
            for (steps, _, ended) in seen {
                ended.unwrap();
                assert_eq!(steps.len() as u64, STEPS);
                // The first step comes after the start of the stage, the fifth after the end of a phase.
                for (step, exchanges) in steps.iter().filter(|(step, _)| ![1, 5].contains(step)) {
                    assert_eq!(
                        exchanges, &["all_gather_f64"; 2],
                        "{sharding}, {world} ranks, step {step}"
                    );
                }
            }
        }
    }
}

/// Told in the exchange before the next step, which is not computed.
#[test]
fn a_stop_of_one_rank_ends_all_after_the_same_step() {
    for sharding in ["run.shard=optimizer", "run.shard=gradients"] {
        for (steps, rest, ended) in run(2, &[sharding], 3) {
            let ended = ended.unwrap_err();
            assert!(
                matches!(ended, EngineError::Interrupted { step: 3, .. }),
                "{ended}"
            );
            assert_eq!(steps.last().unwrap().0, 3);
            assert_eq!(
                rest,
                ["all_gather_f64", "barrier", "barrier"],
                "the wish, the wait for an earlier checkpoint, and that for this one"
            );
        }
    }
}
