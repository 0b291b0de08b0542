//! The sum of all elements, in one order.

use burn::tensor::Tensor;

/// Elements summed sequentially.
const RUN: usize = 256;

/// The sum of all values, `[1]`: the same bits each time.
///
/// On GPUs with atomic addition, Burn's sum on `wgpu` adds partial sums in the order in which thread groups finish. There it
/// is replaced by sums along a dimension, each computed by one thread in order.
pub fn total(values: Tensor<1>) -> Tensor<1> {
    match crate::device::is_wgpu(&values.device()) {
        true => total_of_runs(values),
        false => values.sum(),
    }
}

fn total_of_runs(mut values: Tensor<1>) -> Tensor<1> {
    loop {
        let [count] = values.dims();
        let runs = count / RUN;
        if runs == 0 {
            return values.sum_dim(0);
        }
        let whole = runs * RUN;
        let sums = values.clone().narrow(0, 0, whole).reshape([runs, RUN]);
        let sums = sums.sum_dim(1).reshape([runs]);
        values = match whole == count {
            true => sums,
            false => Tensor::cat(vec![sums, values.narrow(0, whole, count - whole)], 0),
        };
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::Device;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        /// Whole numbers below 2²⁴, whose sum is exact in any order; the gradient of each is 1.
        #[test]
        fn runs_leave_nothing_out(count in 1usize..70_000) {
            let device = Device::flex().autodiff();
            let values: Vec<f32> = (0..count).map(|i| (i * 31 % 257) as f32 - 100.0).collect();
            let expected: f32 = values.iter().sum();
            let values = Tensor::<1>::from_floats(values.as_slice(), &device).require_grad();
            let sum = total_of_runs(values.clone());
            prop_assert_eq!(sum.clone().into_data().iter::<f32>().collect::<Vec<_>>(), [expected]);
            let gradient = values.grad(&sum.backward()).unwrap();
            prop_assert!(gradient.into_data().iter::<f32>().all(|value| value == 1.0));
        }
    }
}
