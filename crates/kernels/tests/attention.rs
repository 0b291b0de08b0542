//! Attention against a direct computation in f64.

mod support;

use burn::tensor::{Device, Distribution, Tensor};
use proptest::prelude::*;
use smollm3_kernels::{CacheView, Documents, cached_attention, document_attention};
use support::named_devices;

/// Without autodiff, as in generation.
fn devices() -> Vec<Device> {
    named_devices()
        .into_iter()
        .map(|(_, device)| device.inner())
        .collect()
}

/// Values of a `[batch, heads, seq, head_dim]` tensor with an index.
struct Values {
    data: Vec<f64>,
    dims: [usize; 4],
}

impl Values {
    fn of(tensor: &Tensor<4>) -> Self {
        Self {
            data: tensor.to_data().iter::<f64>().collect(),
            dims: tensor.dims(),
        }
    }

    fn at(&self, b: usize, h: usize, s: usize, d: usize) -> f64 {
        let [_, heads, seq, dim] = self.dims;
        self.data[((b * heads + h) * seq + s) * dim + d]
    }
}

/// Softmax attention one query at a time, from the definition.
fn by_definition(q: &Tensor<4>, k: &Tensor<4>, v: &Tensor<4>, documents: &Documents) -> Vec<f64> {
    let (q, k, v) = (Values::of(q), Values::of(k), Values::of(v));
    let [batch, heads, seq, dim] = q.dims;
    let group = heads / k.dims[1];
    let starts = documents.positions();
    let mut out = Vec::new();
    for b in 0..batch {
        for h in 0..heads {
            for s in 0..seq {
                let first = s - starts[b * seq + s] as usize;
                let score = |t: usize| {
                    let dot: f64 = (0..dim)
                        .map(|d| q.at(b, h, s, d) * k.at(b, h / group, t, d))
                        .sum();
                    (dot / (dim as f64).sqrt()).exp()
                };
                let scores: Vec<f64> = (first..=s).map(score).collect();
                let total: f64 = scores.iter().sum();
                for d in 0..dim {
                    let mixed: f64 = scores
                        .iter()
                        .zip(first..)
                        .map(|(w, t)| w * v.at(b, h / group, t, d))
                        .sum();
                    out.push(mixed / total);
                }
            }
        }
    }
    out
}

fn check(batch: usize, kv_heads: usize, group: usize, dim: usize, lengths: &[usize]) {
    let seq: usize = lengths.iter().sum();
    let starts: Vec<usize> = lengths
        .iter()
        .scan(0, |at, length| Some(std::mem::replace(at, *at + length)))
        .collect();
    let documents = Documents::new(vec![starts; batch], seq).unwrap();
    for device in devices() {
        let random =
            |heads| Tensor::<4>::random([batch, heads, seq, dim], Distribution::Normal(0.0, 1.0), &device);
        let (q, k, v) = (random(kv_heads * group), random(kv_heads), random(kv_heads));
        let expected = by_definition(&q, &k, &v, &documents);
        let found: Vec<f64> = document_attention(q, k, v, &documents)
            .into_data()
            .iter()
            .collect();
        let worst = found
            .iter()
            .zip(&expected)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max);
        assert!(
            found.len() == expected.len() && worst < 2e-6,
            "off by {worst} for {lengths:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn equals_the_definition(
        batch in 1usize..3,
        kv_heads in 1usize..3,
        group in 1usize..4,
        half in 1usize..5,
        lengths in prop::collection::vec(1usize..8, 1..5),
    ) {
        check(batch, kv_heads, group, 2 * half, &lengths);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_last_queries_of_cached_rows_are_those_of_whole_rows(
        (kv_heads, group, dim) in (1usize..4, 1usize..4, 1usize..12),
        (before, queries) in (0usize..150, 1usize..200),
        pads in prop::collection::vec(0usize..300, 1..4),
    ) {
        let total = before + queries;
        let starts: Vec<usize> = pads.iter().map(|pad| pad % total).collect();
        for device in devices() {
            let random = |heads: usize| {
                Tensor::<4>::random([starts.len(), heads, total, dim], Distribution::Normal(0.0, 1.0), &device)
            };
            let (q, k, v) = (random(kv_heads * group), random(kv_heads), random(kv_heads));
            // The padding before a row's start is a separate document.
            let documents = starts.iter().map(|start| match start {
                0 => vec![0],
                start => vec![0, *start],
            });
            let documents = Documents::new(documents.collect(), total).unwrap();
            let expected = Values::of(&document_attention(q.clone(), k.clone(), v.clone(), &documents));
            let view = CacheView::new(&starts, [queries, total], &device, q.dtype());
            let found = Values::of(&cached_attention(q.narrow(2, before, queries), k, v, &view));
            for (b, start) in starts.iter().enumerate() {
                for s in before.max(*start)..total {
                    for (h, d) in (0..kv_heads * group).flat_map(|h| (0..dim).map(move |d| (h, d))) {
                        let (a, b) = (found.at(b, h, s - before, d), expected.at(b, h, s, d));
                        prop_assert!((a - b).abs() < 2e-5, "{a} instead of {b}");
                    }
                }
            }
        }
    }
}
