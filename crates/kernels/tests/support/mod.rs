//! Shared by the tests of operations: devices, random tensors, comparison of results.
#![allow(dead_code)]

use std::ops::Range;

use burn::tensor::{Device, Distribution, Tensor};
use proptest::prelude::*;
use smollm3_kernels::{Documents, compiled_backends, device};

/// An attention as [`smollm3_kernels::document_attention`].
pub type Attention<'a> = &'a dyn Fn(Tensor<4>, Tensor<4>, Tensor<4>, &Documents) -> Tensor<4>;

/// The default device of each compiled backend, or the one in `SMOLLM3_TEST_DEVICE`, such as `wgpu` or `tch:cuda`.
pub fn named_devices() -> Vec<(String, Device)> {
    if let Ok(wanted) = std::env::var("SMOLLM3_TEST_DEVICE") {
        let (backend, name) = match wanted.split_once(':') {
            Some((backend, name)) => (backend, Some(name)),
            None => (wanted.as_str(), None),
        };
        return vec![(backend.to_owned(), device(backend, name).unwrap().autodiff())];
    }
    compiled_backends()
        .into_iter()
        .map(|name| (name.to_owned(), device(name, None).unwrap().autodiff()))
        .collect()
}

pub fn devices() -> Vec<Device> {
    named_devices().into_iter().map(|(_, device)| device).collect()
}

pub fn random<const D: usize>(dims: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(dims, Distribution::Normal(0.0, 1.0), device).require_grad()
}

/// Largest difference relative to the largest value of the reference, or to 0.1: inputs are of the order of 1, so a
/// gradient that should be 0 carries their rounding.
#[track_caller]
pub fn assert_close<const D: usize>(what: &str, found: Tensor<D>, expected: Tensor<D>, tolerance: f64) {
    assert_close_but(0.0, what, found, expected, tolerance);
}

/// The same plus `rounding`: the error of values that are small differences of large ones.
#[track_caller]
pub fn assert_close_but<const D: usize>(
    rounding: f64,
    what: &str,
    found: Tensor<D>,
    expected: Tensor<D>,
    tolerance: f64,
) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let expected: Vec<f64> = expected.into_data().iter().collect();
    let found: Vec<f64> = found.into_data().iter().collect();
    let largest = expected.iter().fold(0.1, |max: f64, x| max.max(x.abs()));
    let worst = found
        .iter()
        .zip(&expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f64::max);
    assert!(
        worst <= tolerance * largest + rounding,
        "{what}: off by {worst:e} at values up to {largest}"
    );
}

/// Rows with documents of these lengths; all rows have the same sum.
pub fn documents_of(rows: &[Vec<usize>]) -> Documents {
    let starts = |row: &Vec<usize>| {
        row.iter()
            .scan(0, |at, length| Some(std::mem::replace(at, *at + length)))
            .collect::<Vec<_>>()
    };
    Documents::new(rows.iter().map(starts).collect(), rows[0].iter().sum()).unwrap()
}

/// Rows of the same length, cut into documents at different places.
pub fn rows(seq: Range<usize>) -> impl Strategy<Value = Vec<Vec<usize>>> {
    (
        seq,
        prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..4), 1..3),
    )
        .prop_map(|(seq, cuts)| {
            let row = |cuts: Vec<prop::sample::Index>| {
                let mut cuts: Vec<usize> = cuts
                    .iter()
                    .map(|cut| cut.index(seq))
                    .filter(|cut| *cut > 0)
                    .collect();
                cuts.sort_unstable();
                cuts.dedup();
                cuts.push(seq);
                cuts.iter()
                    .scan(0, |at, cut| Some(cut - std::mem::replace(at, *cut)))
                    .collect()
            };
            cuts.into_iter().map(row).collect()
        })
}
