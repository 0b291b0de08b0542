//! Time per operation, from LibTorch's profiler (Kineto).

use std::collections::BTreeMap;

use burn::tensor::Device;

/// The result of [`profile`].
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Whether these are kernels of a GPU; otherwise they are operations on the CPU, which may nest.
    pub on_device: bool,
    /// Milliseconds from the first operation's start to the end of the last.
    pub span: f64,
    /// Milliseconds during which at least one ran.
    pub busy: f64,
    /// By name, longest first.
    pub operations: Vec<ProfiledOperation>,
}

/// All runs of one operation.
#[derive(Debug, Clone, PartialEq)]
pub struct ProfiledOperation {
    /// Its name; of a kernel, its symbol.
    pub name: String,
    /// Number of runs.
    pub calls: u64,
    /// Milliseconds of all runs together.
    pub milliseconds: f64,
}

/// Runs `work`, which must synchronise with the device itself, and reports the operations that ran.
///
/// # Errors
/// The device's backend has no profiler, or it cannot start. `work` has run in either case.
pub fn profile(device: &Device, work: impl FnOnce()) -> Result<Profile, String> {
    #[cfg(feature = "tch")]
    if is_libtorch(device) {
        let on_device = crate::libtorch_gpu(device).is_some();
        let begun = crate::tch::begin_profile(on_device);
        work();
        begun?;
        let events = crate::tch::end_profile()?.into_iter();
        let runs = events
            .filter(|event| event.on_device == on_device && event.length >= 0)
            .map(|event| (event.name, event.start, event.length));
        return Ok(Profile::of(on_device, runs.collect()));
    }
    let _ = device;
    work();
    Err("only LibTorch has a profiler".to_owned())
}

#[cfg(feature = "tch")]
fn is_libtorch(device: &Device) -> bool {
    use burn::backend::DispatchDevice;
    matches!(device.clone().inner().as_dispatch(), DispatchDevice::LibTorch(_))
}

impl Profile {
    /// From the name, start and length of each run, in nanoseconds.
    #[cfg_attr(not(feature = "tch"), allow(dead_code))]
    fn of(on_device: bool, mut runs: Vec<(String, i64, i64)>) -> Self {
        const MILLISECOND: f64 = 1e6;
        runs.sort_by_key(|(_, start, _)| *start);
        let first = runs.first().map_or(0, |(_, start, _)| *start);
        let (mut end, mut busy) = (first, 0);
        let mut by_name: BTreeMap<String, (u64, i64)> = BTreeMap::new();
        for (name, start, length) in runs {
            let stop = start.saturating_add(length);
            busy += (stop - start.max(end)).max(0);
            end = end.max(stop);
            let (calls, sum) = by_name.entry(name).or_default();
            *calls += 1;
            *sum += length;
        }
        let mut operations: Vec<_> = by_name
            .into_iter()
            .map(|(name, (calls, sum))| ProfiledOperation {
                name,
                calls,
                milliseconds: sum as f64 / MILLISECOND,
            })
            .collect();
        operations.sort_by(|a, b| b.milliseconds.total_cmp(&a.milliseconds));
        Self {
            on_device,
            span: (end - first) as f64 / MILLISECOND,
            busy: busy as f64 / MILLISECOND,
            operations,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_add_up_by_name_and_overlaps_are_busy_once() {
        let run =
            |name: &str, start: i64, length: i64| (name.to_owned(), start * 1_000_000, length * 1_000_000);
        let runs = vec![run("b", 10, 4), run("a", 0, 2), run("b", 12, 5), run("a", 13, 1)];
        let profile = Profile::of(true, runs);
        assert_eq!((profile.span, profile.busy), (17.0, 9.0));
        let operations: Vec<_> = profile
            .operations
            .iter()
            .map(|operation| (operation.name.as_str(), operation.calls, operation.milliseconds))
            .collect();
        assert_eq!(operations, [("b", 2, 9.0), ("a", 2, 3.0)]);
        assert_eq!(Profile::of(false, Vec::new()).span, 0.0);
    }

    #[cfg(feature = "tch")]
    #[test]
    fn libtorch_names_its_operations() {
        let device = crate::device("tch", None).unwrap();
        let work = || {
            let x = burn::tensor::Tensor::<2>::ones([64, 64], &device);
            let _ = x.clone().matmul(x).into_data();
        };
        let profile = profile(&device, work).unwrap();
        assert!(!profile.on_device);
        let product = profile
            .operations
            .iter()
            .find(|operation| operation.name == "aten::mm");
        assert_eq!(product.unwrap().calls, 1);
    }

    #[cfg(feature = "flex")]
    #[test]
    fn without_a_profiler_the_work_is_done_all_the_same() {
        let mut done = false;
        assert!(profile(&crate::device("flex", None).unwrap(), || done = true).is_err());
        assert!(done);
    }
}
