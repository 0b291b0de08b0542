//! A rank that resumes takes the memory of its own moments, as one that was never interrupted.
//!
//! Counts what this program allocates, so it is a program of its own.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use smollm3_collective::{Collective, Single, Threads};
use smollm3_engine::checkpoint::{self, Progress, Snapshot};
use smollm3_engine::{AdamW, CrossEntropy, GlobalBatch, MicroBatch, Row, TrainState, train_step};
use smollm3_kernels::device;
use smollm3_model::{Init, SmolLm3};
use smollm3_recipe::{LossAverage, ModelConfig, Optimizer};
use smollm3_records::GuardState;
use support::recipe;

const LIMIT: Duration = Duration::from_secs(120);
/// Ranks that resume.
const WORLD: usize = 8;
/// What is allocated beside numbers: names, headers, shapes.
const BESIDE: usize = 256 << 10;

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn settings() -> Optimizer {
    Optimizer::new(1e-3)
}

/// Trains one step and saves it, on all ranks of a job.
fn train_and_save(folder: &Path, config: &ModelConfig, world: usize) -> PathBuf {
    let tokenizer = folder.join("tokenizer");
    std::fs::create_dir_all(&tokenizer).unwrap();
    let stage = folder.join(format!("by-{world}"));
    let step = |ranks: &dyn Collective| {
        let device = device("flex", None).unwrap();
        let model = SmolLm3::new(config, &Init::new(config, 3), &device.clone().autodiff()).unwrap();
        let row = Row {
            ids: (0..16).collect(),
            targets: (1..17).map(Some).collect(),
            starts: vec![0],
            source: 0,
        };
        let state = TrainState {
            model,
            optimizer: AdamW::new(settings()),
        };
        let own = [MicroBatch::new(&[row], &device).unwrap()];
        let mode = LossAverage::Tokens.into();
        let batch = GlobalBatch::gather(&CrossEntropy, &own, false, ranks).unwrap();
        let (state, _) = train_step(state, &CrossEntropy, batch, mode, 1e-3, |_| true).unwrap();
        let progress = Progress {
            stage: "one".to_owned(),
            step: 1,
            steps: 1,
            tokens: 16,
            updates: state.optimizer.updates(),
            recipe: String::new(),
            data: BTreeMap::new(),
            version: String::new(),
            deterministic: None,
            guard: GuardState::default(),
            validation: None,
        };
        let snapshot = Snapshot::take(
            &state,
            (config.clone(), serde_json::Value::Null),
            progress,
            tokenizer.clone(),
            None,
            ranks,
        );
        checkpoint::save(&stage, &snapshot).unwrap()
    };
    match world {
        1 => step(&Single::default()),
        _ => Threads::run(world, LIMIT, |rank| step(&rank)).swap_remove(0),
    }
}

#[test]
fn a_rank_that_resumes_holds_its_own_moments_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let wide = [
        "model.config.vocab_size=4096",
        "model.config.hidden_size=128",
        "model.config.intermediate_size=512",
    ];
    let config = recipe(folder.path(), "flex", &wide).architecture().unwrap();
    let device = device("flex", None).unwrap();
    for writers in [1, 3] {
        let saved = train_and_save(folder.path(), &config, writers);
        let mut elements = 0;
        for rank in Threads::new(WORLD, LIMIT) {
            let before = LIVE.load(Ordering::Relaxed);
            PEAK.store(before, Ordering::Relaxed);
            let optimizer = checkpoint::load_optimizer(&saved, &config, &settings(), &device, &rank).unwrap();
            let live = LIVE.load(Ordering::Relaxed) - before;
            let peak = PEAK.load(Ordering::Relaxed) - before;
            let lengths: Vec<usize> = optimizer.state().iter().map(|part| part.shape[0]).collect();
            let own = 4 * lengths.iter().sum::<usize>();
            let longest = 4 * lengths.iter().copied().max().unwrap();
            println!(
                "written by {writers}, rank {} of {WORLD}: its moments take {own} bytes, {live} are held, {peak} at most",
                rank.rank()
            );
            assert!(live <= own + BESIDE, "{live} bytes are held for {own} of moments");
            assert!(
                peak <= own + 2 * longest + BESIDE,
                "{peak} bytes at most for {own}"
            );
            elements += lengths.iter().sum::<usize>();
        }
        assert_eq!(elements as u64, 2 * config.parameters());
    }
}
