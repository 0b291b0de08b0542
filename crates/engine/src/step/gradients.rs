//! Gradients by parameter name, accumulated over micro-batches in `f32`.

use std::collections::BTreeMap;

use burn::module::Param;
use burn::tensor::{DType, Gradients, Tensor};
use smollm3_kernels::{read_back, total};
use smollm3_model::{NamedParameters, SmolLm3, named_parameters};

/// The sum of the gradients seen so far, flat `f32` tensors by parameter name.
#[derive(Debug, Default)]
pub struct AccumulatedGradients {
    by_name: BTreeMap<String, Tensor<1>>,
}

impl AccumulatedGradients {
    /// Adds the gradients that a backward pass left for the parameters of `model`.
    pub fn add(&mut self, model: &SmolLm3, gradients: Gradients) {
        let mut add = Add {
            sums: self,
            gradients,
        };
        named_parameters(model, &mut add);
    }

    /// Adds the gradients of another micro-batch.
    pub fn merge(&mut self, other: Self) {
        for (name, gradient) in other.by_name {
            self.add_one(name, gradient);
        }
    }

    fn add_one(&mut self, name: String, gradient: Tensor<1>) {
        let sum = match self.by_name.remove(&name) {
            Some(sum) => sum + gradient,
            None => gradient,
        };
        self.by_name.insert(name, sum);
    }

    /// The sum of the squares of all gradients; a tied tensor counts once. Waits for the device.
    pub fn squares(&self) -> f64 {
        let squares = self.by_name.values().map(|sum| total(sum.clone().square()));
        let squares: Vec<Tensor<1>> = squares.collect();
        if squares.is_empty() {
            return 0.0;
        }
        let sum = read_back(total(Tensor::cat(squares, 0)));
        f64::from(sum.first().copied().unwrap_or_default())
    }

    /// Takes the gradient of one parameter out.
    pub fn remove(&mut self, name: &str) -> Option<Tensor<1>> {
        self.by_name.remove(name)
    }
}

/// The numbers of all tensors, one after another, read in one go. Waits for the device.
pub(crate) fn read_all(tensors: Vec<Tensor<1>>) -> Vec<f32> {
    match tensors.is_empty() {
        true => Vec::new(),
        false => read_back(Tensor::cat(tensors, 0)),
    }
}

struct Add<'a> {
    sums: &'a mut AccumulatedGradients,
    gradients: Gradients,
}

impl NamedParameters for Add<'_> {
    fn visit<const D: usize>(&mut self, name: &str, param: &Param<Tensor<D>>) {
        let Some(gradient) = param.val().grad_remove(&mut self.gradients) else {
            return;
        };
        let count = gradient.shape().num_elements();
        let gradient = gradient.reshape([count]).cast(DType::F32);
        self.sums.add_one(name.to_owned(), gradient);
    }
}
