//! What NCCL's start says where it cannot: no machine has a device of number 99.
#![cfg(feature = "nccl")]

use std::sync::Arc;
use std::time::Duration;

use smollm3_collective::nccl::Nccl;
use smollm3_collective::{Collective, Threads};

#[test]
fn all_ranks_say_which_one_cannot_and_why() {
    let errors = Threads::run(2, Duration::from_secs(60), |ranks| {
        let ranks: Arc<dyn Collective> = Arc::new(ranks);
        let error = Nccl::start(&ranks, 99).err().unwrap().to_string();
        ranks.finish().unwrap();
        error
    });
    let why = ["there is no CUDA driver", "there is no NCCL", "device 99: "];
    for error in &errors {
        let rest = error
            .strip_prefix("NCCL cannot start: rank 0 (thread 0): ")
            .unwrap();
        assert!(why.iter().any(|text| rest.starts_with(text)), "{error}");
    }
    assert_eq!(errors[0], errors[1]);
}
