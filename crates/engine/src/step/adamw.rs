//! AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) over named parameters, as PyTorch computes it.
//!
//! Burn's own optimizer has other defaults (epsilon 1e-5, beta2 0.999), no groups by name and no global clip, and
//! keys its state by parameter ids that do not survive a restart; this one keys everything by the checkpoint's
//! names. Moments are flat `f32` tensors: 8 bytes a parameter. With several ranks, each has the moments of its shard only.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use burn::module::Param;
use burn::tensor::{Device, Shape, Tensor, TensorData};
use smollm3_collective::Collective;
use smollm3_kernels::{AdamWStep, adamw_all};
use smollm3_model::hf::{FileDtype, NamedTensor};
use smollm3_model::{MapParameters, NamedParameters, SmolLm3, map_parameters, named_parameters};
use smollm3_recipe::Optimizer;

use super::gradients::AccumulatedGradients;
use super::moments::{SavedMoments, part_name};
use super::reduce::{Bucket, Buckets, GradientShards, ReducedGradients};
use crate::Result;

/// First and second moment of one parameter, or of some of its elements.
#[derive(Debug, Clone)]
struct Moments {
    first: Tensor<1>,
    second: Tensor<1>,
    /// Which elements, unless all.
    part: Option<Range<usize>>,
}

/// The optimizer and its state.
#[derive(Debug, Clone)]
pub struct AdamW {
    settings: Optimizer,
    /// Updates done, the exponent of the bias correction.
    updates: u64,
    moments: BTreeMap<String, Moments>,
}

const FIRST: &str = "exp_avg.";
const SECOND: &str = "exp_avg_sq.";

impl AdamW {
    /// An optimizer before its first update.
    pub fn new(settings: Optimizer) -> Self {
        Self {
            settings,
            updates: 0,
            moments: BTreeMap::new(),
        }
    }

    /// An optimizer with this rank's shard of the moments in the folder of a checkpoint, of parameters of these names and
    /// shapes. Nothing but the shard is read.
    ///
    /// # Errors
    /// A moment is missing or has another shape.
    pub(crate) fn restore(
        settings: &Optimizer,
        updates: u64,
        shapes: &[(String, Vec<usize>)],
        folder: &Path,
        device: &Device,
        ranks: &dyn Collective,
    ) -> Result<Self> {
        let saved = SavedMoments::open(folder)?;
        let lengths: BTreeMap<String, usize> = shapes
            .iter()
            .map(|(name, shape)| (name.clone(), shape.iter().product()))
            .collect();
        let buckets = Buckets::new(lengths.clone(), ranks.world())?;
        let mut moments = BTreeMap::new();
        let own = buckets
            .iter()
            .filter(|_| updates > 0)
            .flat_map(|bucket| bucket.layout.pieces(&bucket.shards.range(ranks.rank())));
        for piece in own {
            let count = lengths.get(piece.name).copied().unwrap_or_default();
            let read = |kind: &str| -> Result<Tensor<1>> {
                let name = format!("{kind}{}", piece.name);
                let values = saved.elements(&name, count, piece.elements.clone())?;
                let shape = [values.len()];
                Ok(Tensor::from_data(TensorData::new(values, shape), device))
            };
            let restored = Moments {
                first: read(FIRST)?,
                second: read(SECOND)?,
                part: (piece.elements != (0..count)).then(|| piece.elements.clone()),
            };
            moments.insert(piece.name.to_owned(), restored);
        }
        Ok(Self {
            settings: settings.clone(),
            updates,
            moments,
        })
    }

    /// Updates done.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// The moments for writing, flat, called `exp_avg.NAME` and `exp_avg_sq.NAME`; those of elements 3 to 7 of a parameter
    /// `exp_avg.NAME[3..8]`.
    pub fn state(&self) -> Vec<NamedTensor> {
        let entries = self.moments.iter().flat_map(|(name, moments)| {
            let name = part_name(name, moments.part.as_ref());
            [(FIRST, &moments.first), (SECOND, &moments.second)].map(|(kind, value)| {
                NamedTensor::later(format!("{kind}{name}"), value.clone(), FileDtype::F32)
            })
        });
        entries.collect()
    }

    /// The factor that brings a gradient norm down to the clip: `min(1, clip / (norm + 1e-6))`, PyTorch's
    /// `clip_grad_norm_`.
    pub fn clip_factor(&self, norm: f64) -> f64 {
        self.settings
            .clip
            .map_or(1.0, |clip| (clip / (norm + 1e-6)).min(1.0))
    }

    /// One update of every parameter that has a gradient. Of several ranks each updates its shard, and then all gather the
    /// weights. Gradients are multiplied by `scale` first.
    ///
    /// # Errors
    /// A rank that is late or gone.
    pub(crate) fn update(
        &mut self,
        model: SmolLm3,
        gradients: ReducedGradients<'_>,
        scale: f64,
        learning_rate: f64,
    ) -> Result<SmolLm3> {
        self.updates += 1;
        match gradients {
            ReducedGradients::Whole(gradients) => {
                let mut take = TakeOut {
                    gradients,
                    pending: Vec::new(),
                    shapes: BTreeMap::new(),
                };
                let model = map_parameters(model, &mut take);
                let mut put_back = PutBack {
                    shapes: take.shapes,
                    weights: self.apply(take.pending, scale, learning_rate),
                };
                Ok(map_parameters(model, &mut put_back))
            }
            ReducedGradients::Shards(shards) => {
                let mut own = OwnShards {
                    shards: &shards,
                    pending: Vec::new(),
                };
                named_parameters(&model, &mut own);
                let mut gather = GatherWeights {
                    own: self.apply(own.pending, scale, learning_rate),
                    shards: &shards,
                    gathered: BTreeMap::new(),
                    outcome: Ok(()),
                };
                let model = map_parameters(model, &mut gather);
                gather.outcome.map(|()| model)
            }
        }
    }

    /// The new weights by name; the moments become the new ones. Parameters with the same weight decay are updated together,
    /// which a GPU does in one call instead of hundreds.
    fn apply(
        &mut self,
        pending: Vec<Pending>,
        scale: f64,
        learning_rate: f64,
    ) -> BTreeMap<String, Tensor<1>> {
        let decays = |one: &Pending| self.settings.decays(&one.name);
        let (decayed, others): (Vec<_>, Vec<_>) = pending.into_iter().partition(decays);
        let mut weights = BTreeMap::new();
        for (group, decay) in [(decayed, self.settings.weight_decay), (others, 0.0)] {
            let mut names = Vec::with_capacity(group.len());
            let mut parameters = Vec::with_capacity(group.len());
            for one in group {
                let [first, second] = match self.moments.remove(&one.name) {
                    Some(Moments { first, second, .. }) => [first, second],
                    None => [one.gradient.zeros_like(), one.gradient.zeros_like()],
                };
                names.push((one.name, one.part));
                parameters.push(([one.value, first, second], one.gradient));
            }
            let updated = adamw_all(parameters, self.step(scale, learning_rate, decay));
            for ((name, part), [value, first, second]) in names.into_iter().zip(updated) {
                let moments = Moments { first, second, part };
                self.moments.insert(name.clone(), moments);
                weights.insert(name, value);
            }
        }
        weights
    }

    fn step(&self, scale: f64, learning_rate: f64, decay: f64) -> AdamWStep {
        let (betas, updates) = (self.settings.betas, self.updates as f64);
        let [first_correction, second_correction] = betas.map(|beta| 1.0 - beta.powf(updates));
        AdamWStep {
            betas: betas.map(|beta| beta as f32),
            scale: scale as f32,
            decay_factor: (1.0 - learning_rate * decay) as f32,
            step_size: (learning_rate / first_correction) as f32,
            second_correction: second_correction.sqrt() as f32,
            epsilon: self.settings.epsilon as f32,
        }
    }
}

/// A parameter to update, or this rank's shard of it.
struct Pending {
    name: String,
    /// Which elements, unless all.
    part: Option<Range<usize>>,
    value: Tensor<1>,
    gradient: Tensor<1>,
}

/// Takes the parameters that have a gradient out of the model: with no other owner they are updated in place.
struct TakeOut {
    gradients: AccumulatedGradients,
    pending: Vec<Pending>,
    shapes: BTreeMap<String, Vec<usize>>,
}

impl MapParameters for TakeOut {
    fn map<const D: usize>(&mut self, name: &str, value: Tensor<D>) -> Tensor<D> {
        let Some(gradient) = self.gradients.remove(name) else {
            return value;
        };
        let (shape, count, device) = (value.dims(), value.shape().num_elements(), value.device());
        self.shapes.insert(name.to_owned(), shape.to_vec());
        self.pending.push(Pending {
            name: name.to_owned(),
            part: None,
            value: value.reshape([count]),
            gradient,
        });
        // In its place until it is put back.
        Tensor::empty([0; D], &device)
    }
}

/// Puts them back.
struct PutBack {
    shapes: BTreeMap<String, Vec<usize>>,
    weights: BTreeMap<String, Tensor<1>>,
}

impl MapParameters for PutBack {
    fn map<const D: usize>(&mut self, name: &str, value: Tensor<D>) -> Tensor<D> {
        match (self.weights.remove(name), self.shapes.remove(name)) {
            (Some(weights), Some(shape)) => weights.reshape(Shape::from(shape)),
            _ => value,
        }
    }
}

/// Collects this rank's shards.
struct OwnShards<'a> {
    shards: &'a GradientShards<'a>,
    pending: Vec<Pending>,
}

impl NamedParameters for OwnShards<'_> {
    fn visit<const D: usize>(&mut self, name: &str, param: &Param<Tensor<D>>) {
        let Some((elements, gradient)) = self.shards.own(name) else {
            return;
        };
        let value = param.val().without_autodiff();
        let count = value.shape().num_elements();
        self.pending.push(Pending {
            name: name.to_owned(),
            part: (elements != (0..count)).then(|| elements.clone()),
            value: value.reshape([count]).slice([elements]),
            gradient,
        });
    }
}

/// Puts the weights of all ranks into the model, a bucket at a time.
struct GatherWeights<'a> {
    shards: &'a GradientShards<'a>,
    own: BTreeMap<String, Tensor<1>>,
    /// Weights that have been gathered, by name.
    gathered: BTreeMap<String, Tensor<1>>,
    outcome: Result<()>,
}

impl GatherWeights<'_> {
    /// Gathers those of a bucket.
    fn gather(&mut self, bucket: &Bucket, device: &Device) -> Result<()> {
        let weights = self.shards.all_gather(bucket, &mut self.own, device)?;
        for (name, place) in bucket.layout.parameters() {
            self.gathered
                .insert(name.to_owned(), weights.clone().slice([place]));
        }
        Ok(())
    }
}

impl MapParameters for GatherWeights<'_> {
    fn map<const D: usize>(&mut self, name: &str, value: Tensor<D>) -> Tensor<D> {
        let buckets = &self.shards.buckets;
        let bucket = buckets.index_of(name).and_then(|index| buckets.get(index));
        // A frozen parameter may lie in a layer with trained ones.
        let Some(bucket) = bucket.filter(|bucket| self.outcome.is_ok() && bucket.place(name).is_some())
        else {
            return value;
        };
        if !self.gathered.contains_key(name) {
            self.outcome = self.gather(bucket, &value.device());
        }
        match self.gathered.remove(name) {
            Some(weights) => weights.reshape(value.shape()).cast(value.dtype()),
            None => value,
        }
    }
}
