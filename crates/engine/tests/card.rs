//! The numeric tests of kernels, model and step in one program, to be carried to a machine that has a GPU and no compiler:
//!
//! ```sh
//! cargo test --features tch,nccl --test card --no-run
//! SMOLLM3_TEST_DEVICE=tch:cuda SMOLLM3_TEST_FIXTURES=tests/fixtures card-<hash>
//! ```
//!
//! `cargo test` without `--test card` leaves it out: the tests run where they belong.

#[path = "../../kernels/tests/fused.rs"]
mod fused;
#[path = "../../model/tests/parity.rs"]
mod parity;
#[path = "step.rs"]
mod step;

/// One rank alone sums nothing, but CUDA, NCCL and their streams have to work together.
#[cfg(all(feature = "nccl", feature = "tch"))]
#[test]
fn nccl_with_one_rank() {
    use std::sync::Arc;

    use burn::tensor::{Distribution, Tensor};
    use smollm3_collective::nccl::Nccl;
    use smollm3_collective::{Collective, DeviceCollective, DeviceValues, Single};
    use smollm3_kernels::{addressed, device, libtorch_gpu};

    let wanted = std::env::var("SMOLLM3_TEST_DEVICE").unwrap_or_default();
    let Some(name) = wanted
        .strip_prefix("tch:")
        .filter(|name| name.starts_with("cuda"))
    else {
        eprintln!("not run: SMOLLM3_TEST_DEVICE names no CUDA device");
        return;
    };
    let device = device("tch", Some(name)).unwrap();
    let ranks: Arc<dyn Collective> = Arc::new(Single::default());
    let nccl = Nccl::start(&ranks, libtorch_gpu(&device).unwrap()).unwrap();
    let values = Tensor::<1>::random([100_000], Distribution::Normal(0.0, 1.0), &device);
    let before = values.clone().into_data();
    let (values, address) = addressed(values).unwrap();
    let place = DeviceValues {
        address,
        shard: 100_000,
    };
    for gathers in [false, true] {
        // SAFETY: they are this test's, and waited for before they are read or freed.
        let begun = unsafe {
            match gathers {
                true => nccl.all_gather(place),
                false => nccl.reduce_scatter(place),
            }
        };
        nccl.wait(begun.unwrap()).unwrap();
        assert_eq!(values.clone().into_data(), before);
    }
}
