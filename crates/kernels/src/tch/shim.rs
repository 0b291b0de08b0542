//! What LibTorch has and `tch` does not bind, through `shim.cpp`.

use std::ffi::{CStr, c_char, c_double, c_void};
use std::ptr::null_mut;

use tch::Tensor;
use torch_sys::C_tensor;

use crate::AdamWStep;

type TensorList = *const *mut C_tensor;
type EachEvent = extern "C" fn(*mut c_void, *const c_char, bool, i64, i64);

unsafe extern "C" {
    fn smollm3_flash_attention(
        out: *mut *mut C_tensor,
        q: *const C_tensor,
        k: *const C_tensor,
        v: *const C_tensor,
        cu_seqlens: *const C_tensor,
        max_seqlen: i64,
        scale: c_double,
    ) -> *mut c_char;

    fn smollm3_fused_adamw(
        values: TensorList,
        gradients: TensorList,
        firsts: TensorList,
        seconds: TensorList,
        count: i64,
        scale: c_double,
        step: c_double,
        rate: c_double,
        beta1: c_double,
        beta2: c_double,
        decay: c_double,
        epsilon: c_double,
    ) -> *mut c_char;

    fn smollm3_deterministic(flags: *mut bool);
    fn smollm3_set_deterministic(flags: *const bool);
    fn smollm3_device_memory(peak: *mut i64, device: i8) -> *mut c_char;
    fn smollm3_profile_begin(cuda: bool) -> *mut c_char;
    fn smollm3_profile_end(each: EachEvent, context: *mut c_void) -> *mut c_char;
}

/// LibTorch's error, if there is one.
fn refused(error: *mut c_char) -> Result<(), String> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: a string allocated by `strdup`.
    let text = unsafe { CStr::from_ptr(error) }.to_string_lossy().into_owned();
    // SAFETY: as above, and not used after this.
    unsafe { libc::free(error.cast()) };
    Err(text)
}

/// # Panics
/// LibTorch failed: a mistake of the caller, or out of memory. `tch` itself panics too.
pub(super) fn done<T>(outcome: Result<T, String>) -> T {
    outcome.unwrap_or_else(|text| panic!("LibTorch: {text}"))
}

/// Causal attention of documents laid end to end: output, log-sum-exp, and two tensors for the backward pass.
///
/// # Shapes
/// - `q`: `[tokens, heads, head_dim]`; `k`, `v`: `[tokens, kv_heads, head_dim]`
/// - `cu_seqlens`: where each document begins, and at last the number of tokens; `int32`
///
/// # Errors
/// What LibTorch says.
pub(super) fn flash_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    cu_seqlens: &Tensor,
    max_seqlen: i64,
    scale: f64,
) -> Result<[Tensor; 4], String> {
    let mut out = [null_mut(); 4];
    // SAFETY: all are tensors; on success `out` holds four new ones.
    unsafe {
        refused(smollm3_flash_attention(
            out.as_mut_ptr(),
            q.as_ptr(),
            k.as_ptr(),
            v.as_ptr(),
            cu_seqlens.as_ptr(),
            max_seqlen,
            scale,
        ))?;
        Ok(out.map(|tensor| Tensor::from_ptr(tensor)))
    }
}

/// Whether [`flash_attention`] runs on this device, tried with one token. It does not on GPUs before Ampere or in builds of
/// LibTorch without it.
pub(super) fn has_flash_attention(device: tch::Device) -> bool {
    let token = Tensor::zeros([1, 1, 8], (tch::Kind::BFloat16, device));
    let cu_seqlens = Tensor::from_slice(&[0i32, 1]).to_device(device);
    flash_attention(&token, &token, &token, &cu_seqlens, 1, 1.0).is_ok()
}

/// A parameter in an update: value, moments and gradient, all contiguous and not shared.
pub(super) struct Updated {
    pub value: Tensor,
    pub first: Tensor,
    pub second: Tensor,
    pub gradient: Tensor,
}

/// LibTorch's AdamW of many parameters in one call, in place. Gradients are scaled in place too.
pub(super) fn fused_adamw(parameters: &mut [Updated], step: AdamWStep) {
    // It computes both corrections itself from the step number. At this step they are 1 in its f32; ours go into rate and
    // epsilon: m / (√v / c + ε) = c · m / (√v + c · ε).
    const LONG_AFTER: f64 = 1e9;
    let correction = f64::from(step.second_correction);
    let rate = f64::from(step.step_size) * correction;
    let decay = if rate > 0.0 {
        f64::from(1.0 - step.decay_factor) / rate
    } else {
        0.0
    };
    let [beta1, beta2] = step.betas.map(f64::from);
    let list = |tensor: fn(&mut Updated) -> &mut Tensor, parameters: &mut [Updated]| -> Vec<*mut C_tensor> {
        let pointer = |updated| tensor(updated).as_mut_ptr();
        parameters.iter_mut().map(pointer).collect()
    };
    let values = list(|updated| &mut updated.value, parameters);
    let gradients = list(|updated| &mut updated.gradient, parameters);
    let firsts = list(|updated| &mut updated.first, parameters);
    let seconds = list(|updated| &mut updated.second, parameters);
    // SAFETY: lists of equal length, and the tensors written to are not shared.
    unsafe {
        done(refused(smollm3_fused_adamw(
            values.as_ptr(),
            gradients.as_ptr(),
            firsts.as_ptr(),
            seconds.as_ptr(),
            values.len() as i64,
            f64::from(step.scale),
            LONG_AFTER,
            rate,
            beta1,
            beta2,
            decay,
            f64::from(step.epsilon) * correction,
        )));
    }
}

/// LibTorch's settings of determinism.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DeterminismFlags {
    /// Only deterministic algorithms, or an error.
    pub algorithms: bool,
    /// A warning instead of the error, with the nondeterministic algorithm.
    pub warn_only: bool,
    /// Fill new memory, which costs a pass over it.
    pub fill: bool,
}

impl DeterminismFlags {
    /// The process's current flags.
    pub fn current() -> Self {
        let mut flags = [false; 3];
        // SAFETY: three are written.
        unsafe { smollm3_deterministic(flags.as_mut_ptr()) };
        let [algorithms, warn_only, fill] = flags;
        Self {
            algorithms,
            warn_only,
            fill,
        }
    }

    /// Sets the flags of the process.
    pub fn set(self) {
        let flags = [self.algorithms, self.warn_only, self.fill];
        // SAFETY: three are read.
        unsafe { smollm3_set_deterministic(flags.as_ptr()) };
    }
}

/// Peak bytes of tensors on a CUDA device, and peak bytes reserved by LibTorch.
pub(crate) fn device_memory(device: usize) -> Option<[u64; 2]> {
    let mut peak = [0; 2];
    // SAFETY: two are written.
    refused(unsafe { smollm3_device_memory(peak.as_mut_ptr(), i8::try_from(device).ok()?) }).ok()?;
    Some(peak.map(|bytes| bytes as u64))
}

/// A profiled operation on the CPU, or a kernel.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub name: String,
    pub on_device: bool,
    /// Nanoseconds.
    pub start: i64,
    /// Nanoseconds.
    pub length: i64,
}

/// Starts LibTorch's profiler for this thread; with `cuda`, for the kernels of all threads.
///
/// # Errors
/// Why it cannot start.
pub(crate) fn begin_profile(cuda: bool) -> Result<(), String> {
    // SAFETY: no pointers.
    refused(unsafe { smollm3_profile_begin(cuda) })
}

/// Ends the profile started by [`begin_profile`].
///
/// # Errors
/// Why there is no result.
pub(crate) fn end_profile() -> Result<Vec<Event>, String> {
    extern "C" fn each(events: *mut c_void, name: *const c_char, on_device: bool, start: i64, length: i64) {
        // SAFETY: the pointer passed below, and a string that outlives this call.
        let (events, name) = unsafe { (&mut *events.cast::<Vec<Event>>(), CStr::from_ptr(name)) };
        events.push(Event {
            name: name.to_string_lossy().into_owned(),
            on_device,
            start,
            length,
        });
    }
    let mut events: Vec<Event> = Vec::new();
    // SAFETY: `each` is called with this list and nothing else, before the call returns.
    refused(unsafe { smollm3_profile_end(each, (&raw mut events).cast()) })?;
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_flash_attention_is_detected_without_a_panic() {
        assert!(!has_flash_attention(tch::Device::Cpu));
    }
}
