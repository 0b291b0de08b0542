//! Several ranks train as one does: the same losses, the same weights on each, whatever their number, and from
//! one number to another.

#[path = "../../engine/tests/support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use burn::module::Param;
use burn::tensor::Tensor;
use smollm3_collective::{Collective, CollectiveError, Threads};
use smollm3_engine::{
    AdamW, CrossEntropy, EngineError, GlobalBatch, MicroBatch, RankSlice, Result, Row, Run, StepMode,
    TrainState, checkpoint, train_step,
};
use smollm3_estimate::{StepTraffic, Trained};
use smollm3_kernels::device;
use smollm3_model::hf::TensorFiles;
use smollm3_model::{Init, NamedParameters, SmolLm3, named_parameters};
use smollm3_pretrain::pretrain;
use smollm3_recipe::LossAverage;
use smollm3_records::{Event, Listener, Metrics, RecordError, StepRecord};
use support::recipe;

const LIMIT: Duration = Duration::from_secs(120);

/// Rows that two ranks and four can share, in micro-batches that are the same for all.
const SHARED: [&str; 3] = [
    "stage.pretrain.global_batch=8 sequences",
    "stage.pretrain.micro_batch=2 sequences",
    "stage.pretrain.optimizer.learning_rate=1e-3",
];

/// Keeps the steps, and asks for a stop on one rank after one of them.
struct Watch<'a> {
    rank: usize,
    metrics: Metrics,
    steps: Vec<StepRecord>,
    stop: &'a AtomicBool,
    stop_after: u64,
}

impl Listener for Watch<'_> {
    fn on(&mut self, event: &Event) -> smollm3_records::Result<()> {
        if let Event::StageStarted { stage, .. } = event
            && self.rank == 0
        {
            // As a checkpoint of several ranks leaves it that could not be written.
            fs::create_dir_all(stage.folder.join(".step-00000000.moments.part")).unwrap();
        }
        if let Event::Step(record) = event {
            self.steps.push(record.clone());
            if self.rank == 0 && record.step == self.stop_after {
                self.stop.store(true, Ordering::Relaxed);
            }
        }
        match self.rank {
            0 => self.metrics.on(event),
            _ => Ok(()),
        }
    }
}

/// What a rank saw: its steps, and how its run ended.
type Seen = (Vec<StepRecord>, Result<()>);

/// Runs the stage on `world` ranks until its end, or until rank 0 is asked to stop.
fn run(folder: &Path, world: usize, overrides: &[&str], stop_after: u64) -> Vec<Seen> {
    let recipe = recipe(folder, "flex", overrides);
    Threads::run(world, LIMIT, |rank| {
        let stop = AtomicBool::new(false);
        let mut watch = Watch {
            rank: rank.rank(),
            metrics: Metrics::default(),
            steps: Vec::new(),
            stop: &stop,
            stop_after,
        };
        let ended = Run::open_as(Arc::new(rank), None, recipe.clone(), &mut watch)
            .and_then(|run| pretrain(&run, &run.recipe.stages[0], &stop, &mut watch));
        (watch.steps, ended)
    })
}

/// Runs to the end, and makes sure that all ranks saw the same; the steps.
fn whole(folder: &Path, world: usize, overrides: &[&str]) -> Vec<StepRecord> {
    let seen = run(folder, world, overrides, u64::MAX);
    for (_, ended) in &seen {
        ended.as_ref().unwrap();
    }
    same_on_all(seen)
}

fn same_on_all(seen: Vec<Seen>) -> Vec<StepRecord> {
    let numbers = |steps: &[StepRecord]| -> Vec<_> {
        let number = |record: &StepRecord| {
            let StepRecord {
                step,
                loss,
                grad_norm,
                ..
            } = record;
            (
                *step,
                loss.to_bits(),
                grad_norm.to_bits(),
                record.sources.clone(),
                record.updated,
            )
        };
        steps.iter().map(number).collect()
    };
    let mut seen = seen.into_iter().map(|(steps, _)| steps);
    let first = seen.next().unwrap();
    for other in seen {
        assert_eq!(numbers(&first), numbers(&other), "ranks saw different things");
    }
    first
}

#[track_caller]
fn assert_close(found: &[StepRecord], expected: &[StepRecord]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let off = (found.loss - expected.loss).abs() / expected.loss;
        assert!(
            off <= 1e-6,
            "step {}: {} and {}, off by {off:e}",
            found.step,
            found.loss,
            expected.loss
        );
        let rows = |record: &StepRecord| -> Vec<_> {
            let sources = record.sources.iter();
            sources
                .map(|(name, part)| (name.clone(), part.rows, part.targets))
                .collect()
        };
        assert_eq!(rows(found), rows(expected));
    }
}

fn bytes(folder: &Path, step: u64, file: &str) -> Vec<u8> {
    let stage = folder.join("out/pretrain").join(checkpoint::folder_name(step));
    fs::read(stage.join(file)).unwrap()
}

#[test]
fn any_number_of_ranks_has_the_losses_of_one() {
    let long = ["stage.pretrain.checkpoint.every=25 steps", "data.max_epochs=500"];
    for average in ["tokens", "mean-of-means"] {
        let average = format!("stage.pretrain.loss.average={average}");
        let steps = [
            "stage.pretrain.phase.one.until=10 steps",
            "stage.pretrain.phase.two.until=50 steps",
            average.as_str(),
        ];
        let overrides = [&SHARED[..], &long, &steps].concat();
        let alone = tempfile::tempdir().unwrap();
        let expected = whole(alone.path(), 1, &overrides);
        assert_eq!(expected.len(), 50);
        assert!(expected.iter().all(|record| record.collectives.is_none()));
        for world in [2, 4] {
            let folder = tempfile::tempdir().unwrap();
            let found = whole(folder.path(), world, &overrides);
            assert_close(&found, &expected);
            let record = found.last().unwrap().collectives.unwrap();
            assert_eq!(record.ranks, world as u64);
            assert!(record.seconds > 0.0 && (0.0..=record.seconds).contains(&record.hidden));
            // As the plan has it: the gradients and weights, and the losses of each source.
            let recipe = recipe(folder.path(), "flex", &overrides);
            let trained = Trained::all(&recipe.architecture().unwrap());
            let planned = StepTraffic::of_first_rank(trained, world as u64, 0, 1);
            let further = (record.bytes - planned.total_bytes) / planned.each_further_source_bytes;
            assert_eq!(
                record.bytes,
                planned.total_bytes + further * planned.each_further_source_bytes
            );
            assert!(further < recipe.sources.len() as u64);
        }
    }
}

/// Weights by name, as bits.
struct Weights(Vec<(String, Vec<u32>)>);

impl NamedParameters for Weights {
    fn visit<const D: usize>(&mut self, name: &str, param: &Param<Tensor<D>>) {
        let values: Vec<f32> = param.val().into_data().iter().collect();
        let bits = values.into_iter().map(f32::to_bits).collect();
        self.0.push((name.to_owned(), bits));
    }
}

#[test]
fn all_ranks_have_the_same_weights_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), "flex", &SHARED);
    let config = recipe.architecture().unwrap();
    let settings = recipe.stages[0].training().unwrap().optimizer.clone();
    let row = |rank: usize, step: usize| Row {
        ids: (0..16)
            .map(|i| ((rank * 31 + step * 7 + i) % 320) as u32)
            .collect(),
        // Ranks have unequal numbers of targets.
        targets: (0..16)
            .map(|i| (i > rank).then_some(((rank * 13 + step * 5 + i) % 320) as u32))
            .collect(),
        starts: vec![0],
        source: rank,
    };
    for world in [2, 3, 4] {
        let of_ranks = Threads::run(world, LIMIT, |rank| {
            let device = device("flex", None).unwrap();
            let init = Init::new(&config, 3);
            let mut state = TrainState {
                model: SmolLm3::new(&config, &init, &device.clone().autodiff()).unwrap(),
                optimizer: AdamW::new(settings.clone()),
            };
            let mut results = Vec::new();
            for step in 0..3 {
                let own = [MicroBatch::new(&[row(rank.rank(), step)], &device).unwrap()];
                let mode = StepMode::from(LossAverage::Tokens);
                let batch = GlobalBatch::gather(&CrossEntropy, &own, false, &rank).unwrap();
                let (after, result) = train_step(state, &CrossEntropy, batch, mode, 1e-2, |_| true).unwrap();
                assert_eq!(result.sources.len(), world, "each rank has a source of its own");
                assert_eq!(
                    result.targets,
                    (0..world).map(|rank| 16 - rank - 1).sum::<usize>()
                );
                state = after;
                results.push(result);
            }
            let mut weights = Weights(Vec::new());
            named_parameters(&state.model, &mut weights);
            (weights.0, results)
        });
        let (weights, results) = &of_ranks[0];
        let mut before = Weights(Vec::new());
        let device = device("flex", None).unwrap();
        named_parameters(
            &SmolLm3::new(&config, &Init::new(&config, 3), &device).unwrap(),
            &mut before,
        );
        for ((name, after), (_, before)) in weights.iter().zip(&before.0) {
            assert_ne!(after, before, "{name} was not trained");
        }
        for (others, their_results) in &of_ranks[1..] {
            assert!(weights == others, "{world} ranks");
            assert_eq!(results, their_results);
        }
    }
}

#[test]
fn two_runs_have_the_same_bits_and_all_files_are_there() {
    let [a, b] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    for folder in [&a, &b] {
        whole(folder.path(), 2, &SHARED);
    }
    for file in [
        "model.safetensors",
        "optimizer-00001-of-00002.safetensors",
        "optimizer-00002-of-00002.safetensors",
        "optimizer.safetensors.index.json",
        "manifest.json",
    ] {
        assert!(
            bytes(a.path(), support::STEPS, file) == bytes(b.path(), support::STEPS, file),
            "{file}"
        );
    }
    let left = fs::read_dir(a.path().join("out/pretrain")).unwrap();
    let hidden = left
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".step"));
    assert_eq!(hidden.count(), 0, "parts that were taken or given up are gone");
}

/// Moments of a rank: an Nth of all, up to the alignment of bounds.
#[test]
fn each_rank_has_its_part_of_the_moments() {
    let count = |folder: &Path, stem: &str| -> usize {
        let stage = folder
            .join("out/pretrain")
            .join(checkpoint::folder_name(support::STEPS));
        let files = TensorFiles::open(&stage, stem).unwrap();
        let names: Vec<String> = files.names().map(str::to_owned).collect();
        names.iter().map(|name| files.get(name).unwrap().0.shape[0]).sum()
    };
    let alone = tempfile::tempdir().unwrap();
    whole(alone.path(), 1, &SHARED);
    let all = count(alone.path(), "optimizer");
    for world in [2, 4] {
        let folder = tempfile::tempdir().unwrap();
        whole(folder.path(), world, &SHARED);
        let parts: Vec<usize> = (1..=world)
            .map(|rank| count(folder.path(), &format!("optimizer-{rank:05}-of-{world:05}")))
            .collect();
        assert_eq!(parts.iter().sum::<usize>(), all);
        assert_eq!(count(folder.path(), "optimizer"), all);
        // Two moments, and a bucket a layer and one of the rest.
        let recipe = recipe(folder.path(), "flex", &SHARED);
        let buckets = recipe.architecture().unwrap().num_hidden_layers + 1;
        let most = all / world + 2 * 64 * buckets;
        assert!(parts.iter().all(|part| *part <= most), "{parts:?} of {all}");
    }
}

#[test]
fn a_run_goes_on_with_another_number_of_ranks() {
    let alone = tempfile::tempdir().unwrap();
    let expected = whole(alone.path(), 1, &SHARED);
    for worlds in [[1, 4, 2], [4, 1, 2], [2, 4, 1]] {
        let folder = tempfile::tempdir().unwrap();
        let mut found = Vec::new();
        for (world, stop_after) in worlds.into_iter().zip([2, 3, u64::MAX]) {
            let seen = run(folder.path(), world, &SHARED, stop_after);
            for (_, ended) in &seen {
                match ended {
                    // Only rank 0 was asked, and all stop after the same step.
                    Err(EngineError::Interrupted { step, .. }) => assert_eq!(*step, stop_after),
                    other => assert!(other.is_ok() && stop_after == u64::MAX, "{other:?}"),
                }
            }
            found.extend(same_on_all(seen));
        }
        assert_close(&found, &expected);
    }
}

#[test]
fn a_state_is_the_same_whoever_wrote_it() {
    // One step more by one rank, from a checkpoint of one and from the same state written by four.
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), 4, &SHARED, 3);
    let moments = |folder: &Path, step| {
        let stage = folder.join("out/pretrain").join(checkpoint::folder_name(step));
        let files = TensorFiles::open(&stage, "optimizer").unwrap();
        files.names().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let split = moments(folder.path(), 3);
    assert!(split.iter().any(|name| name.ends_with(']')), "{split:?}");
    run(folder.path(), 1, &SHARED, 4);
    let whole = moments(folder.path(), 4);
    assert!(whole.iter().all(|name| !name.ends_with(']')));
    let bases: BTreeSet<String> = split
        .iter()
        .map(|name| name.split('[').next().unwrap().to_owned())
        .collect();
    assert_eq!(bases, whole);
}

/// The moments of a stage are the next one's, whoever has which part of them.
#[test]
fn a_stage_keeps_the_moments_of_ranks() {
    const NEXT: &str = r#"
[[stage]]
name = "next"
kind = "long-context"
from = "pretrain"
sequence_length = 64
rope_theta = 40000.0
global_batch = "8 sequences"
micro_batch = "2 sequences"
optimizer_state = "keep"
optimizer = { learning_rate = 1e-3 }
schedule = { kind = "cosine", warmup = "1 steps", min_ratio = 0.1 }
phase = [{ name = "next", until = "4 steps", mixture = { sources = { first = 1, second = 1 } } }]
"#;
    let stages = |folder: &Path, worlds: [usize; 2]| -> Vec<StepRecord> {
        recipe(folder, "flex", &SHARED);
        let file = folder.join("recipe.toml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text + NEXT).unwrap();
        let overrides = SHARED.map(str::to_owned);
        let recipe = smollm3_recipe::Recipe::load(folder, &overrides).unwrap();
        let mut steps = Vec::new();
        for (stage, world) in worlds.into_iter().enumerate() {
            let seen = Threads::run(world, LIMIT, |rank| {
                let stop = AtomicBool::new(false);
                let mut watch = Watch {
                    rank: rank.rank(),
                    metrics: Metrics::default(),
                    steps: Vec::new(),
                    stop: &stop,
                    stop_after: u64::MAX,
                };
                let run = Run::open_as(Arc::new(rank), None, recipe.clone(), &mut watch).unwrap();
                pretrain(&run, &run.recipe.stages[stage], &stop, &mut watch).unwrap();
                (watch.steps, Ok(()))
            });
            steps = same_on_all(seen);
        }
        steps
    };
    let alone = tempfile::tempdir().unwrap();
    let expected = stages(alone.path(), [1, 1]);
    assert_eq!(expected.len(), 4);
    for worlds in [[4, 2], [1, 4], [2, 1]] {
        let folder = tempfile::tempdir().unwrap();
        assert_close(&stages(folder.path(), worlds), &expected);
    }
}

/// A rate that ruins the model after its first update: all ranks go back together, and give up together.
#[test]
fn ranks_go_back_together() {
    let folder = tempfile::tempdir().unwrap();
    let ruin = [
        "stage.pretrain.optimizer.learning_rate=1e30",
        "stage.pretrain.guards.patience=2 steps",
    ];
    let overrides = [&SHARED[..], &ruin].concat();
    let seen = run(folder.path(), 2, &overrides, u64::MAX);
    let told: Vec<(u64, Vec<(u64, u64)>)> = seen
        .iter()
        .map(|(_, ended)| match ended {
            Err(EngineError::Diverged { step, left_out, .. }) => (*step, left_out.clone()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0].1.len(), 1, "it went back once: {told:?}");
    let steps = seen.into_iter().map(|(steps, _)| steps);
    let of_ranks: Vec<Vec<(u64, bool)>> = steps
        .map(|steps| steps.iter().map(|record| (record.step, record.updated)).collect())
        .collect();
    assert_eq!(of_ranks[0], of_ranks[1]);
    assert!(of_ranks[0].iter().any(|(_, updated)| !updated));
}

#[test]
fn ranks_with_other_recipes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let recipes = [&[][..], &["run.seed=6"], &[]].map(|overrides| recipe(folder.path(), "flex", overrides));
    let errors: Vec<String> = Threads::run(3, LIMIT, |rank| {
        let recipe = recipes[rank.rank()].clone();
        let mut listener = Metrics::default();
        let error = Run::open_as(Arc::new(rank), None, recipe, &mut listener)
            .err()
            .unwrap();
        let EngineError::Collective(inner) = &error else {
            panic!("{error}");
        };
        assert!(matches!(**inner, CollectiveError::Disagreement(_)));
        error.to_string()
    });
    assert!(
        errors[0].contains("rank 1 (thread 1) has recipe"),
        "{}",
        errors[0]
    );
    assert!(errors.iter().all(|error| *error == errors[0]));
    assert!(!folder.path().join("out").exists(), "nothing was begun");
}

/// Whatever changes how a step is gone through, though not what comes out.
#[test]
fn ranks_with_other_settings_are_named() {
    for odd in [
        "stage.pretrain.micro_batch=1 sequences",
        "stage.pretrain.recompute=layers",
        "stage.pretrain.checkpoint.every=2 steps",
        "run.shard=gradients",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let overrides = [&SHARED[..], &[odd]].concat();
        let recipes = [&SHARED[..], &overrides].map(|overrides| recipe(folder.path(), "flex", overrides));
        assert_eq!(recipes[0].fingerprint(), recipes[1].fingerprint(), "{odd}");
        let errors: Vec<String> = Threads::run(2, LIMIT, |rank| {
            let recipe = recipes[rank.rank()].clone();
            let opened = Run::open_as(Arc::new(rank), None, recipe, &mut Metrics::default());
            opened.err().unwrap().to_string()
        });
        let [error, other] = &errors[..] else { panic!() };
        assert!(error.contains("rank 1 (thread 1) has settings"), "{odd}: {error}");
        assert_eq!(error, other);
    }
}

/// ZeRO-2, with layers computed again, from the recipe's keys.
#[test]
fn ranks_that_shard_gradients_have_the_losses_of_one() {
    let alone = tempfile::tempdir().unwrap();
    let expected = whole(alone.path(), 1, &SHARED);
    let sharded = ["run.shard=gradients", "stage.pretrain.recompute=layers"];
    let overrides = [&SHARED[..], &sharded].concat();
    for world in [2, 4] {
        let folder = tempfile::tempdir().unwrap();
        let found = whole(folder.path(), world, &overrides);
        assert_close(&found, &expected);
        let record = found.last().unwrap().collectives.unwrap();
        let trained = Trained::all(&recipe(folder.path(), "flex", &[]).architecture().unwrap());
        let rounds = 4 / world as u64;
        let planned = StepTraffic::of_first_rank(trained, world as u64, 0, rounds);
        let more = record.bytes - planned.total_bytes;
        assert!(more.is_multiple_of(planned.each_further_source_bytes) && more < planned.numbers_bytes);
    }
}

#[test]
fn ranks_that_do_not_divide_the_batch_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (_, ended) in run(folder.path(), 3, &SHARED, u64::MAX) {
        let message = ended.unwrap_err().to_string();
        assert!(
            message.contains("stage.pretrain.global_batch")
                && message.contains("8 sequences cannot be divided among 3 devices"),
            "{message}"
        );
    }
    assert!(!folder.path().join("out").exists());
}

#[test]
fn a_rank_that_fails_alone_ends_the_others() {
    struct Fails(usize);
    impl Listener for Fails {
        fn on(&mut self, event: &Event) -> smollm3_records::Result<()> {
            match event {
                Event::Step(record) if self.0 == 1 && record.step == 2 => {
                    Err(RecordError::Refused("its disk is full".to_owned()))
                }
                _ => Ok(()),
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    // With a checkpoint on its way, rank 0 would first wait for the part that never comes.
    let overrides = [&SHARED[..], &["stage.pretrain.checkpoint.every=100 steps"]].concat();
    let recipe = recipe(folder.path(), "flex", &overrides);
    let errors: Vec<String> = Threads::run(2, LIMIT, |rank| {
        let mut listener = Fails(rank.rank());
        let run = Run::open_as(Arc::new(rank), None, recipe.clone(), &mut listener).unwrap();
        let stop = AtomicBool::new(false);
        pretrain(&run, &run.recipe.stages[0], &stop, &mut listener)
            .unwrap_err()
            .to_string()
    });
    assert!(errors[0].contains("rank 1 (thread 1) ended"), "{}", errors[0]);
    assert_eq!(errors[1], "its disk is full");
}

#[test]
fn what_rank_0_cannot_do_the_others_do_not_wait_for() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("out")).unwrap();
    fs::write(folder.path().join("out/letter.txt"), "mine").unwrap();
    let seen = run(folder.path(), 2, &SHARED, u64::MAX);
    assert!(
        seen[0]
            .1
            .as_ref()
            .unwrap_err()
            .to_string()
            .contains("is no run's folder")
    );
    assert!(matches!(seen[1].1, Err(EngineError::FirstEnded)));
}

#[test]
fn shares_make_up_the_batch_in_whole_micro_batches() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), "flex", &SHARED);
    let stage = &recipe.stages[0];
    for (world, micro_batch) in [(1, 2), (2, 2), (4, 2), (8, 1)] {
        let rows: Vec<u64> = (0..8).collect();
        let all = Mutex::new(Vec::new());
        Threads::run(world, LIMIT, |rank| {
            let slice = RankSlice::new(&rank, stage, &stage.training().unwrap()).unwrap();
            assert_eq!(slice.micro_batch(), micro_batch);
            let own = slice.of(rows.clone()).unwrap();
            for micro in own.chunks(micro_batch) {
                assert!(micro.windows(2).all(|pair| pair[1] == pair[0] + 1));
                assert!(micro[0].is_multiple_of(micro_batch as u64));
            }
            all.lock().unwrap().extend(own);
        });
        let mut all = all.into_inner().unwrap();
        all.sort_unstable();
        assert_eq!(all, rows);
    }
}
