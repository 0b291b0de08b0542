//! Trained parameters in buckets: one per layer, and one for all outside the layers.
//!
//! Ranks sum a bucket as soon as the backward pass has left its layer, so the last layer comes first. Every rank updates its
//! shard of every bucket (ZeRO-1: Rajbhandari et al. 2020, arXiv:1910.02054).
//!
//! Rejected: one vector of all parameters, which needs a copy of all of them at once and can be summed only when the
//! backward pass is over; one parameter at a time, which sends many short messages.

use std::collections::BTreeMap;
use std::ops::Range;

use burn::module::Param;
use burn::tensor::{Device, Tensor};
use smollm3_collective::{Layout, Shards};
use smollm3_model::{NamedParameters, SmolLm3, named_parameters};

use crate::Result;
use crate::step::gradients::AccumulatedGradients;

/// Bounds between ranks are multiples of this many elements: a cache line of moments, and a multiple of any vector width.
pub const SHARD_ALIGNMENT: usize = 64;

/// All trained parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Buckets(Vec<Bucket>);

/// Parameters that are summed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// Their layer.
    pub layer: Option<usize>,
    /// The parameters, in the order of names.
    pub layout: Layout,
    /// How ranks divide them.
    pub shards: Shards,
}

impl Buckets {
    /// Parameters by name and number of elements, divided among `world` ranks.
    ///
    /// # Errors
    /// More elements than can be counted.
    pub fn new(lengths: BTreeMap<String, usize>, world: usize) -> Result<Self> {
        let mut of_layers: BTreeMap<Option<usize>, Vec<(String, usize)>> = BTreeMap::new();
        for (name, length) in lengths {
            of_layers.entry(layer_of(&name)).or_default().push((name, length));
        }
        // `None` is the least, and so the last.
        let buckets = of_layers.into_iter().rev().map(|(layer, parameters)| {
            let layout = Layout::new(parameters)?;
            let shards = Shards::new(layout.total(), world, SHARD_ALIGNMENT);
            Ok(Bucket {
                layer,
                layout,
                shards,
            })
        });
        buckets.collect::<Result<_>>().map(Self)
    }

    /// The trained parameters of a model.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of_model(model: &SmolLm3, world: usize) -> Result<Self> {
        let mut trained = Trained(BTreeMap::new());
        named_parameters(model, &mut trained);
        Self::new(trained.0, world)
    }

    /// The buckets in the order in which they are summed.
    pub fn iter(&self) -> impl Iterator<Item = &Bucket> {
        self.0.iter()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub fn get(&self, index: usize) -> Option<&Bucket> {
        self.0.get(index)
    }

    /// The bucket of a parameter.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        let layer = layer_of(name);
        self.0.iter().position(|bucket| bucket.layer == layer)
    }
}

impl Bucket {
    /// Where a parameter lies in the bucket.
    pub fn place(&self, name: &str) -> Option<Range<usize>> {
        let found = self.layout.parameters().find(|(other, _)| *other == name);
        found.map(|(_, place)| place)
    }

    /// Takes the gradients of these parameters, concatenated; zeros where there is none.
    pub fn take(&self, gradients: &mut AccumulatedGradients, device: &Device) -> Tensor<1> {
        let values = self.layout.parameters().map(|(name, place)| {
            gradients
                .remove(name)
                .unwrap_or_else(|| Tensor::zeros([place.len()], device))
        });
        Tensor::cat(values.collect(), 0)
    }
}

struct Trained(BTreeMap<String, usize>);

impl NamedParameters for Trained {
    fn visit<const D: usize>(&mut self, name: &str, param: &Param<Tensor<D>>) {
        if param.is_require_grad() {
            self.0.insert(name.to_owned(), param.val().shape().num_elements());
        }
    }
}

/// The layer whose parameter this is: `model.layers.7.mlp.up_proj.weight` is one of layer 7.
fn layer_of(name: &str) -> Option<usize> {
    let (_, rest) = name.split_once("layers.")?;
    rest.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_layer_comes_first_and_what_is_in_none_last() {
        let names = [
            "model.layers.10.mlp.up_proj.weight",
            "model.layers.9.mlp.up_proj.adapter.lora_a",
            "model.norm.weight",
            "model.layers.9.mlp.down_proj.weight",
            "model.embed_tokens.weight",
        ];
        let buckets = Buckets::new(names.map(|name| (name.to_owned(), 5)).into(), 2).unwrap();
        let layers: Vec<_> = buckets.iter().map(|bucket| bucket.layer).collect();
        assert_eq!(layers, [Some(10), Some(9), None]);
        for name in names {
            let bucket = buckets.get(buckets.index_of(name).unwrap()).unwrap();
            assert_eq!(bucket.place(name).unwrap().len(), 5);
        }
        assert_eq!(buckets.index_of("model.layers.8.mlp.up_proj.weight"), None);
        let rest = buckets.get(2).unwrap();
        assert_eq!(rest.place("model.embed_tokens.weight"), Some(0..5));
        assert_eq!(rest.place("model.norm.weight"), Some(5..10));
        assert_eq!(rest.place("model.norm.bias"), None);
    }

    proptest! {
        #[test]
        fn every_rank_has_its_shard_of_each(
            lengths in prop::collection::vec((0_usize..4, 1_usize..3_000), 1..12),
            world in 1_usize..6,
        ) {
            let names: BTreeMap<String, usize> = lengths
                .iter()
                .enumerate()
                .map(|(index, (layer, length))| (format!("layers.{layer}.{index}"), *length))
                .collect();
            let buckets = Buckets::new(names.clone(), world).unwrap();
            let all: usize = buckets.iter().map(|bucket| bucket.layout.total()).sum();
            prop_assert_eq!(all, names.values().sum::<usize>());
            for bucket in buckets.iter() {
                let counts = bucket.shards.counts();
                prop_assert_eq!(counts.iter().sum::<usize>(), bucket.layout.total());
                let most = bucket.layout.total().div_ceil(world) + SHARD_ALIGNMENT;
                prop_assert!(counts.iter().all(|count| *count < most), "{counts:?}");
            }
        }
    }
}
