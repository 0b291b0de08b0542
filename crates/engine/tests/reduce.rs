//! Whatever ranks divide among themselves, and however their gradients are summed, the step is that of one rank.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use burn::module::Param;
use burn::tensor::Tensor;
use proptest::prelude::*;
use smollm3_collective::{Collective, Single, Threads};
use smollm3_engine::{
    AdamW, CrossEntropy, GlobalBatch, MicroBatch, Row, StepMode, StepResult, TrainState, train_step,
};
use smollm3_kernels::device;
use smollm3_model::{FreshAdapters, Init, NamedParameters, SmolLm3, named_parameters};
use smollm3_recipe::{Lora, LoraInit, LossAverage, Optimizer, Recompute, Sharding};
use support::recipe;

const LIMIT: Duration = Duration::from_secs(120);
const STEPS: usize = 3;

/// What is trained, and how.
#[derive(Debug, Clone, Copy)]
struct Setting {
    backend: &'static str,
    mode: StepMode,
    adapted: bool,
}

impl Setting {
    fn new(backend: &'static str, recompute: Recompute, sharding: Sharding, adapted: bool) -> Self {
        let mode = StepMode {
            average: LossAverage::Tokens,
            recompute,
            sharding,
        };
        Self {
            backend,
            mode,
            adapted,
        }
    }
}

/// Of two modes each; sixteen steps are eight settings of two backends at most.
fn settings(backend: &'static str) -> Vec<Setting> {
    let mut all = Vec::new();
    for recompute in [Recompute::None, Recompute::Layers] {
        for sharding in [Sharding::Optimizer, Sharding::Gradients] {
            for adapted in [false, true] {
                all.push(Setting::new(backend, recompute, sharding, adapted));
            }
        }
    }
    all
}

/// Micro-batch `index` of a step; no two have equally many targets.
fn row(step: usize, index: usize) -> Row {
    let id = |i: usize| ((index * 31 + step * 7 + i * i) % 320) as u32;
    Row {
        ids: (0..16).map(id).collect(),
        targets: (0..16).map(|i| (i > index).then(|| id(i + 1))).collect(),
        starts: vec![0],
        source: index,
    }
}

/// All weights by name.
type Weights = BTreeMap<String, Vec<f32>>;

struct Read(Weights);

impl NamedParameters for Read {
    fn visit<const D: usize>(&mut self, name: &str, param: &Param<Tensor<D>>) {
        self.0
            .insert(name.to_owned(), param.val().into_data().iter().collect());
    }
}

/// Trains on the micro-batches of these numbers.
fn train(ranks: &dyn Collective, own: &[usize], setting: Setting) -> (Vec<StepResult>, Weights) {
    let folder = tempfile::tempdir().unwrap();
    let config = recipe(folder.path(), "flex", &[]).architecture().unwrap();
    let device = device(setting.backend, None).unwrap();
    let trains = device.clone().autodiff();
    let mut model = SmolLm3::new(&config, &Init::new(&config, 3), &trains).unwrap();
    if setting.adapted {
        let lora = Lora {
            rank: 3,
            alpha: 6.0,
            targets: ["q_proj", "down_proj"].map(str::to_owned).to_vec(),
            rslora: false,
            init: LoraInit::Fresh,
        };
        model = model
            .with_adapters(&lora, &FreshAdapters { seed: 1 }, &trains)
            .unwrap();
    }
    let optimizer = AdamW::new(Optimizer {
        learning_rate: 1e-3,
        betas: [0.9, 0.95],
        epsilon: 1e-8,
        weight_decay: 0.1,
        no_decay: vec!["embed_tokens".to_owned()],
        clip: Some(0.5),
    });
    let mut state = TrainState { model, optimizer };
    let mut results = Vec::new();
    for step in 0..STEPS {
        let micro: Vec<MicroBatch> = own
            .iter()
            .map(|index| MicroBatch::new(&[row(step, *index)], &device).unwrap())
            .collect();
        let batch = GlobalBatch::gather(&CrossEntropy, &micro, false, ranks).unwrap();
        let (after, result) = train_step(state, &CrossEntropy, batch, setting.mode, 1e-3, |_| true).unwrap();
        state = after;
        results.push(result);
    }
    let mut weights = Read(BTreeMap::new());
    named_parameters(&state.model, &mut weights);
    (results, weights.0)
}

/// Each rank trains on its part of the micro-batches, over what `with` makes of it.
fn compare<C: Collective>(shares: &[Vec<usize>], setting: Setting, with: impl Fn(Threads) -> C + Sync) {
    let all = shares.concat();
    let (expected, weights) = train(&Single::default(), &all, setting);
    let of_ranks = Threads::run(shares.len(), LIMIT, |rank| {
        let own = &shares[rank.rank()];
        train(&with(rank), own, setting)
    });
    for (results, found) in &of_ranks {
        for (found, expected) in results.iter().zip(&expected) {
            let off = (found.loss - expected.loss).abs() / expected.loss;
            assert!(off <= 1e-6, "{setting:?}, {shares:?}: loss off by {off:e}");
            let off = (found.grad_norm - expected.grad_norm).abs() / expected.grad_norm;
            assert!(off <= 1e-5, "{setting:?}, {shares:?}: norm off by {off:e}");
            assert_eq!(found.targets, expected.targets);
            assert_eq!(found.sources.len(), all.len());
        }
        assert!(*found == of_ranks[0].1, "{setting:?}: ranks have other weights");
        assert_eq!(found.len(), weights.len());
        for (name, expected) in &weights {
            for (found, expected) in found[name].iter().zip(expected) {
                // Three updates of 1e-3: where a gradient is a rounding, AdamW divides it by its own size.
                let off = (found - expected).abs();
                assert!(off <= 2e-4, "{setting:?}, {shares:?}: {name} off by {off:e}");
            }
        }
    }
}

#[test]
fn what_ranks_divide_changes_nothing() {
    for setting in settings("flex") {
        compare(&[vec![0, 1], vec![2, 3]], setting, |rank| rank);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    /// Pairs share rows as they come out, so that ranks have unequal numbers of micro-batches, and may have none.
    #[test]
    fn ranks_need_not_have_equally_many_micro_batches(
        owners in prop::collection::vec(0_usize..3, 1..5),
        recompute in prop::bool::ANY,
        gradients in prop::bool::ANY,
    ) {
        let of = |rank| (0..owners.len()).filter(|index| owners[*index] == rank).collect();
        let shares: Vec<Vec<usize>> = (0..3).map(of).collect();
        let recompute = if recompute { Recompute::Layers } else { Recompute::None };
        let sharding = if gradients { Sharding::Gradients } else { Sharding::Optimizer };
        compare(&shares, Setting::new("flex", recompute, sharding, false), |rank| rank);
    }
}

/// Sums between devices, the engine's part of them: values by address, operations that have not been done when they were
/// begun, shards of others that are not to be read.
#[cfg(feature = "tch")]
mod device_collective {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use smollm3_collective::{Begun, DeviceCollective, DeviceValues, Result, Traffic, WithDevices};

    use super::*;

    enum Operation {
        ReduceScatter,
        AllGather,
    }

    /// A "device" whose memory is the host's.
    struct HostMemory {
        ranks: Arc<dyn Collective>,
        begun: Mutex<Operations>,
    }

    #[derive(Default)]
    struct Operations {
        count: u64,
        pending: VecDeque<(u64, Operation, DeviceValues)>,
    }

    impl HostMemory {
        fn begin(&self, operation: Operation, values: DeviceValues) -> Begun {
            let mut begun = self.begun.lock().unwrap();
            begun.count += 1;
            let number = begun.count;
            begun.pending.push_back((number, operation, values));
            Begun(number)
        }
    }

    impl DeviceCollective for HostMemory {
        unsafe fn reduce_scatter(&self, values: DeviceValues) -> Result<Begun> {
            Ok(self.begin(Operation::ReduceScatter, values))
        }

        unsafe fn all_gather(&self, values: DeviceValues) -> Result<Begun> {
            Ok(self.begin(Operation::AllGather, values))
        }

        fn wait(&self, operation: Begun) -> Result<()> {
            let mut begun = self.begun.lock().unwrap();
            while begun
                .pending
                .front()
                .is_some_and(|oldest| oldest.0 <= operation.0)
            {
                let (_, operation, DeviceValues { address, shard }) = begun.pending.pop_front().unwrap();
                let world = self.ranks.world();
                // SAFETY: LibTorch's memory on the CPU, which the caller keeps until this has returned.
                let values = unsafe { std::slice::from_raw_parts_mut(address as *mut f32, shard * world) };
                let own = self.ranks.rank() * shard..(self.ranks.rank() + 1) * shard;
                match operation {
                    Operation::AllGather => self.ranks.all_gather(values, &vec![shard; world])?,
                    Operation::ReduceScatter => {
                        self.ranks.reduce_scatter(values, &vec![shard; world])?;
                        values[..own.start].fill(f32::NAN);
                        values[own.end..].fill(f32::NAN);
                    }
                }
            }
            Ok(())
        }

        fn traffic(&self) -> Traffic {
            Traffic::default()
        }
    }

    fn with(rank: Threads) -> WithDevices<HostMemory> {
        let ranks: Arc<dyn Collective> = Arc::new(rank);
        let devices = HostMemory {
            ranks: ranks.clone(),
            begun: Mutex::default(),
        };
        WithDevices { host: ranks, devices }
    }

    #[test]
    fn device_sums_are_the_host_sums() {
        for setting in settings("tch") {
            for shares in [&[vec![0, 1], vec![2, 3]][..], &[vec![0], vec![], vec![1, 2]]] {
                compare(shares, setting, with);
            }
        }
    }

    #[test]
    fn a_backend_that_does_not_tell_where_its_numbers_are_is_named() {
        let errors = Threads::run(2, LIMIT, |rank| {
            let ranks = with(rank);
            let setting = Setting::new("flex", Recompute::None, Sharding::Optimizer, false);
            let message = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                train(&ranks, &[ranks.rank()], setting)
            }))
            .unwrap_err();
            message.downcast_ref::<String>().unwrap().clone()
        });
        for error in errors {
            assert!(error.contains("write backend = \\\"tch\\\""), "{error}");
        }
    }
}
