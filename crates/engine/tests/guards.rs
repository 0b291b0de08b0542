//! Faults put into chosen steps: what is trained on, what is gone back to, and what is told.

mod support;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use burn::module::Param;
use burn::tensor::{Device, Int, Tensor};
use smollm3_collective::{Collective, Single, Threads};
use smollm3_engine::checkpoint::Checkpointer;
use smollm3_engine::training::{LoopSettings, train};
use smollm3_engine::{
    AdamW, CrossEntropy, Dataset, EngineError, GlobalBatch, MicroBatch, Objective, ObjectiveLoss, Result,
    ResumePoint, Row, RowOrigin, SaveJob, StepBatches, StepMode, TrainState, train_step,
};
use smollm3_files::{FilesError, io};
use smollm3_kernels::{Documents, device};
use smollm3_model::{Init, NamedParameters, SmolLm3, named_parameters};
use smollm3_recipe::{Phase, Recipe, Sharding, Training};
use smollm3_records::{
    Event, Fault, GuardState, IncidentKind, Listener, PhaseInfo, RowRef, SourceName, StageInfo,
    ValidationState,
};
use support::{Recorder, recipe};

const SEQ: usize = 16;

/// A batch, and what its loss is multiplied by.
struct Batch(MicroBatch, f64);

struct Faulty;

impl Objective for Faulty {
    type HostBatch = (u64, f64);
    type MicroBatch = Batch;

    fn to_device(&self, (step, factor): (u64, f64), device: &Device) -> Result<Batch> {
        Ok(batch(step, factor, device))
    }

    fn origins<'b>(&self, batch: &'b Batch) -> &'b [RowOrigin] {
        &batch.0.origins
    }

    fn inputs<'b>(&self, batch: &'b Batch) -> (Tensor<2, Int>, &'b Documents) {
        CrossEntropy.inputs(&batch.0)
    }

    fn loss(&self, hidden: Tensor<3>, head: Tensor<2>, batch: &Batch) -> ObjectiveLoss {
        let found = CrossEntropy.loss(hidden, head, &batch.0);
        ObjectiveLoss {
            sum: found.sum.mul_scalar(batch.1),
            ..found
        }
    }
}

fn row(step: u64) -> Row {
    let id = |i: usize| ((step as usize * 31 + i * i * 7) % 300) as u32;
    Row {
        ids: (0..SEQ).map(id).collect(),
        targets: (0..SEQ).map(|i| Some(id(i + 1))).collect(),
        starts: vec![0],
        source: 0,
    }
}

fn batch(step: u64, factor: f64, device: &Device) -> Batch {
    Batch(MicroBatch::new(&[row(step)], device).unwrap(), factor)
}

/// Steps, the losses of some multiplied by a factor.
struct Steps<F>(u64, F);

impl<F: Fn(u64) -> f64 + Send + Sync> Dataset<Vec<(u64, f64)>, EngineError> for Steps<F> {
    fn get(&self, index: usize) -> Result<Vec<(u64, f64)>> {
        let step = index as u64 + 1;
        Ok(vec![(step, (self.1)(step))])
    }

    fn len(&self) -> usize {
        self.0 as usize
    }
}

impl<F: Fn(u64) -> f64 + Send + Sync> StepBatches<(u64, f64)> for Steps<F> {
    fn sources(&self) -> Vec<SourceName> {
        Vec::new()
    }

    fn shares(&self, _: &Phase) -> BTreeMap<String, f64> {
        BTreeMap::new()
    }

    fn rows_of(&self, step: u64) -> Vec<RowRef> {
        vec![RowRef {
            source: "first".to_owned(),
            window: step,
        }]
    }
}

/// Everything that a stage of `steps` steps needs; checkpoints stay in memory.
struct Stage {
    training: Training,
    recipe: Recipe,
    device: Device,
    saved: RefCell<BTreeMap<u64, (TrainState, GuardState)>>,
    /// Attempts to write that fail from now on.
    failures: Arc<AtomicU32>,
    /// How long the checkpoint of the first step takes to be written.
    slow: Duration,
}

fn stage(steps: u64, settings: &[&str]) -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let until = format!("stage.pretrain.phase.two.until={steps} steps");
    let mut overrides = vec![until.as_str(), "stage.pretrain.phase.one.until=1 steps"];
    overrides.extend(settings);
    let recipe = recipe(folder.path(), "flex", &overrides);
    let mut training = recipe.stages[0].training().unwrap();
    // One phase: its end would be one more checkpoint.
    training.phases.remove(0);
    Stage {
        training,
        recipe,
        device: device("flex", None).unwrap(),
        saved: RefCell::default(),
        failures: Arc::default(),
        slow: Duration::ZERO,
    }
}

impl Stage {
    fn fresh(&self) -> TrainState {
        let config = self.recipe.architecture().unwrap();
        TrainState {
            model: SmolLm3::new(&config, &Init::new(&config, 3), &self.device.clone().autodiff()).unwrap(),
            optimizer: AdamW::new(self.training.optimizer.clone()),
        }
    }

    /// Runs all steps, the losses of some multiplied by a factor.
    fn run(&self, factor: impl Fn(u64) -> f64 + Copy + Send + Sync) -> (Result<TrainState>, Vec<Event>) {
        self.run_as(&Single::default(), factor)
    }

    /// [`run`](Self::run) for one of several ranks.
    fn run_as(
        &self,
        ranks: &dyn Collective,
        factor: impl Fn(u64) -> f64 + Copy + Send + Sync,
    ) -> (Result<TrainState>, Vec<Event>) {
        let (training, device) = (self.training.clone(), self.device.clone());
        let settings = LoopSettings {
            stage: StageInfo {
                loss_unit: "nats/token".to_owned(),
                name: "stage".to_owned(),
                folder: PathBuf::new(),
                steps: training.total_steps(),
                tokens_per_step: training.tokens_per_step(),
                sequence_length: SEQ as u64,
                rope_theta: 1e4,
                flops_per_token: 1.0,
                peak_flops: None,
                sources: Vec::new(),
                phases: vec![PhaseInfo {
                    name: "one".to_owned(),
                    first: 1,
                    last: training.total_steps(),
                    shares: BTreeMap::new(),
                }],
            },
            training: &training,
            schedule: training.schedule().unwrap(),
            stop: &AtomicBool::new(false),
            device: &device,
            ranks,
            sharding: Sharding::default(),
            validation: None,
        };
        let mut recorder = Recorder::default();
        let events = std::rc::Rc::clone(&recorder.0);
        let from = ResumePoint {
            state: self.fresh(),
            step: 0,
            guard: GuardState::default(),
            validation: ValidationState::default(),
        };
        let data = Steps(training.total_steps(), factor);
        let ended = train(&settings, from, &data, &Faulty, self, &(), &mut recorder);
        (ended, events.take())
    }

    /// What training on these steps and no others comes to.
    fn expected(&self, steps: impl IntoIterator<Item = u64>) -> Weights {
        let mut state = self.fresh();
        let schedule = self.training.schedule().unwrap();
        for step in steps {
            let mode = StepMode::from(self.training.loss.average);
            let rate = schedule.learning_rate(step);
            let (own, alone) = ([batch(step, 1.0, &self.device)], Single::default());
            let batch = GlobalBatch::gather(&Faulty, &own, false, &alone).unwrap();
            state = train_step(state, &Faulty, batch, mode, rate, |_| true).unwrap().0;
        }
        Weights::of(&state)
    }
}

impl Checkpointer for Stage {
    fn snapshot(
        &self,
        state: &TrainState,
        step: u64,
        guard: &GuardState,
        _: &ValidationState,
    ) -> Result<SaveJob> {
        let state = (state.clone(), guard.clone());
        self.saved.borrow_mut().insert(step, state);
        let failures = Arc::clone(&self.failures);
        let slow = if step == 1 { self.slow } else { Duration::ZERO };
        Ok(Box::new(move || {
            thread::sleep(slow);
            let left =
                failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            match left {
                Ok(_) => {
                    let full = std::io::ErrorKind::StorageFull.into();
                    Err(io("write", Path::new("model.safetensors"))(full).into())
                }
                Err(_) => Ok(PathBuf::from(format!("step-{step}"))),
            }
        }))
    }

    fn last_good(&self, _: &mut dyn Listener) -> Result<ResumePoint> {
        let saved = self.saved.borrow();
        let good = saved.iter().rev().find(|(_, (_, guard))| guard.bad == 0);
        Ok(match good {
            Some((step, (state, guard))) => ResumePoint {
                state: state.clone(),
                step: *step,
                guard: guard.clone(),
                validation: ValidationState::default(),
            },
            None => ResumePoint {
                state: self.fresh(),
                step: 0,
                guard: GuardState::default(),
                validation: ValidationState::default(),
            },
        })
    }
}

/// Bits of all weights and the number of updates.
#[derive(Debug, PartialEq)]
struct Weights(Vec<u32>, u64);

impl Weights {
    fn of(state: &TrainState) -> Self {
        struct Bits(Vec<u32>);
        impl NamedParameters for Bits {
            fn visit<const D: usize>(&mut self, _: &str, param: &Param<Tensor<D>>) {
                self.0
                    .extend(param.val().into_data().iter::<f32>().map(f32::to_bits));
            }
        }
        let mut bits = Bits(Vec::new());
        named_parameters(&state.model, &mut bits);
        Self(bits.0, state.optimizer.updates())
    }
}

fn incidents(events: &[Event]) -> Vec<(u64, &IncidentKind)> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Incident { step, kind } => Some((*step, kind)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_step_that_is_no_number_is_left_out_and_told_with_its_rows() {
    let stage = stage(6, &[]);
    let (ended, events) = stage.run(|step| if step == 3 { f64::NAN } else { 1.0 });
    assert_eq!(Weights::of(&ended.unwrap()), stage.expected([1, 2, 4, 5, 6]));
    let incidents = incidents(&events);
    let [
        (
            3,
            IncidentKind::Fault {
                fault, updated, rows, ..
            },
        ),
    ] = incidents.as_slice()
    else {
        panic!("{incidents:?}");
    };
    assert_eq!((*fault, *updated, rows[0].window), (Fault::NotFinite, false, 3));
    let steps: Vec<(u64, bool)> = events
        .iter()
        .filter_map(|event| match event {
            Event::Step(record) => Some((record.step, record.updated)),
            _ => None,
        })
        .collect();
    assert_eq!(
        steps,
        [(1, true), (2, true), (3, false), (4, true), (5, true), (6, true)]
    );
}

const WINDOW: &str = "stage.pretrain.guards.spike_window=8 steps";
/// Beyond what the first steps of a random model do by themselves.
const SIGMA: &str = "stage.pretrain.guards.spike_sigma=200.0";

#[test]
fn a_spike_is_told_and_left_out_only_if_the_recipe_says_so() {
    for choice in ["log", "skip"] {
        let setting = format!("stage.pretrain.guards.spikes={choice}");
        let stage = stage(10, &[WINDOW, SIGMA, &setting]);
        let (ended, events) = stage.run(|step| if step == 8 { 1e4 } else { 1.0 });
        let told = incidents(&events);
        // The first steps of so small a model may be spikes by themselves; whatever is told is what was left out.
        let left_out: Vec<u64> = told
            .iter()
            .filter(|(_, kind)| matches!(kind, IncidentKind::Fault { updated: false, .. }))
            .map(|(step, _)| *step)
            .collect();
        assert_eq!(ended.unwrap().optimizer.updates(), 10 - left_out.len() as u64);
        assert_eq!(left_out.contains(&8), choice == "skip");
        let spikes: Vec<_> = told.into_iter().filter(|(step, _)| *step == 8).collect();
        let [(_, IncidentKind::Fault { fault, updated, .. })] = spikes.as_slice() else {
            panic!("{spikes:?}");
        };
        assert!(matches!(fault, Fault::LossSpike { sigma } if *sigma > 200.0));
        assert_eq!(*updated, choice == "log");
    }
}

const PATIENCE: &str = "stage.pretrain.guards.patience=3 steps";
const EVERY: &str = "stage.pretrain.checkpoint.every=2 steps";

#[test]
fn after_too_many_bad_steps_the_run_goes_back_and_leaves_their_data_out() {
    let stage = stage(12, &[PATIENCE, EVERY]);
    // Step 5 is trained on and given up with the others; 4 is the last checkpoint.
    let bad = |step| if (6..=8).contains(&step) { f64::NAN } else { 1.0 };
    let (ended, events) = stage.run(bad);
    assert_eq!(
        Weights::of(&ended.unwrap()),
        stage.expected([1, 2, 3, 4, 9, 10, 11, 12])
    );
    let incidents = incidents(&events);
    assert_eq!(incidents.len(), 4, "{incidents:?}");
    assert_eq!(incidents[3], (8, &IncidentKind::WentBack { to: 4 }));
    // Later checkpoints know what was left out.
    assert_eq!(stage.saved.borrow()[&12].1.left_out, [(5, 8)]);
    assert!(!stage.saved.borrow().contains_key(&6));
    // Step 8 is a multiple of two: what was gone back to is saved under the step that was reached.
    assert_eq!(
        Weights::of(&stage.saved.borrow()[&8].0),
        stage.expected([1, 2, 3, 4])
    );
    assert_eq!(stage.saved.borrow()[&8].1.left_out, [(5, 8)]);
}

/// Weights that have seen nothing are no place to go on from in the middle of a stage.
#[test]
fn without_a_checkpoint_to_go_back_to_the_run_ends() {
    let stage = stage(20, &[PATIENCE, "stage.pretrain.checkpoint.every=10 steps"]);
    let (ended, events) = stage.run(|step| if (6..=8).contains(&step) { f64::NAN } else { 1.0 });
    let error = ended.err().unwrap();
    assert!(
        matches!(
            &error,
            EngineError::NothingGood {
                step: 8,
                patience: 3,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("checkpoint.every"), "{error}");
    assert!(stage.saved.borrow().is_empty());
    let steps = events.iter().filter(|event| matches!(event, Event::Step(_)));
    assert_eq!(steps.count(), 8);
}

/// Going back at the very end is still an end: with a checkpoint that later stages start from.
#[test]
fn a_run_that_goes_back_at_its_last_step_is_saved() {
    let stage = stage(12, &[PATIENCE, EVERY]);
    let (ended, events) = stage.run(|step| if step >= 10 { f64::NAN } else { 1.0 });
    assert_eq!(Weights::of(&ended.unwrap()), stage.expected(1..=8));
    assert_eq!(stage.saved.borrow()[&12].1.left_out, [(9, 12)]);
    let saved = |event: &Event| matches!(event, Event::Saved { step: 12, .. });
    assert!(events.iter().any(saved));
}

#[test]
fn the_second_time_it_stops_with_a_report() {
    let stage = stage(20, &[PATIENCE, EVERY]);
    let bad = |step| match step {
        6..=8 | 13..=15 => f64::INFINITY,
        _ => 1.0,
    };
    let (ended, _) = stage.run(bad);
    let error = ended.err().unwrap();
    assert!(
        matches!(&error, EngineError::Diverged { step: 15, left_out, .. } if *left_out == [(5, 8)]),
        "{error}"
    );
    let text = error.to_string();
    assert!(
        text.contains("steps 5 to 8") && text.contains("incidents.jsonl"),
        "{text}"
    );
}

#[test]
fn a_full_disk_is_told_and_tried_again_while_the_run_goes_on() {
    let stage = stage(4, &["stage.pretrain.checkpoint.every=3 steps"]);
    stage.failures.store(2, Ordering::Relaxed);
    let (ended, events) = stage.run(|_| 1.0);
    assert_eq!(ended.unwrap().optimizer.updates(), 4);
    let told = incidents(&events);
    // Once for each checkpoint: the second failure is either another attempt at step 3 or the first at step 4.
    assert!(matches!(told.as_slice(), [(3, _)] | [(3, _), (4, _)]), "{told:?}");
    assert!(told.iter().all(|(_, kind)| {
        matches!(kind, IncidentKind::NotSaved { error } if error.contains("model.safetensors"))
    }));
    let saved: Vec<u64> = events
        .iter()
        .filter_map(|event| match event {
            Event::Saved { step, writing, .. } => {
                assert!(*writing < Duration::from_secs(5));
                Some(*step)
            }
            _ => None,
        })
        .collect();
    // The attempt at step 3 is given up for the one at the end, which insists.
    assert_eq!(saved.last(), Some(&4), "{saved:?}");
}

/// Longer than ranks wait for one another in an exchange.
#[test]
fn ranks_wait_for_the_slow_disk_of_one() {
    let limit = Duration::from_secs(2);
    let ended = Threads::run(2, limit, |rank| {
        let mut stage = stage(4, &["stage.pretrain.checkpoint.every=1 steps"]);
        if rank.rank() == 0 {
            stage.slow = 2 * limit;
        }
        let (ended, _) = stage.run_as(&rank, |_| 1.0);
        ended
            .map(|state| state.optimizer.updates())
            .map_err(|error| error.to_string())
    });
    assert_eq!(ended, [Ok(4), Ok(4)]);
}

#[test]
fn an_end_that_can_never_be_written_is_an_error() {
    let stage = stage(4, &["stage.pretrain.checkpoint.every=100 steps"]);
    stage.failures.store(u32::MAX, Ordering::Relaxed);
    let (ended, events) = stage.run(|_| 1.0);
    assert!(matches!(
        ended.err(),
        Some(EngineError::Files(FilesError::Io { .. }))
    ));
    assert!(!incidents(&events).is_empty());
}
