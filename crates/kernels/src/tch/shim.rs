//! What LibTorch has and `tch` does not bind, through `shim.cpp`.

use std::ffi::{CStr, c_char, c_double};
use std::ptr::null_mut;

use tch::Tensor;
use torch_sys::C_tensor;

use crate::AdamWStep;

unsafe extern "C" {
    fn smollm3_flash_attention(
        out: *mut *mut C_tensor,
        q: *const C_tensor,
        k: *const C_tensor,
        v: *const C_tensor,
        starts: *const C_tensor,
        longest: i64,
        scale: c_double,
    ) -> *mut c_char;

    fn smollm3_fused_adamw(
        value: *const C_tensor,
        gradient: *const C_tensor,
        first: *const C_tensor,
        second: *const C_tensor,
        step: *const C_tensor,
        rate: c_double,
        beta1: c_double,
        beta2: c_double,
        decay: c_double,
        epsilon: c_double,
    ) -> *mut c_char;
}

/// # Panics
/// LibTorch refused: a mistake of the caller, or no memory left. As `tch` itself does.
fn check(error: *mut c_char) {
    if !error.is_null() {
        // SAFETY: a string that `strdup` made for us.
        let text = unsafe { CStr::from_ptr(error) }.to_string_lossy().into_owned();
        // SAFETY: as above, and not used after this.
        unsafe { libc::free(error.cast()) };
        panic!("LibTorch: {text}");
    }
}

/// Causal attention of documents laid end to end: output, log-sum-exp, and two tensors for the backward pass.
///
/// # Shapes
/// - `q`: `[tokens, heads, head_dim]`; `k`, `v`: `[tokens, kv_heads, head_dim]`
/// - `starts`: where each document begins, and the number of tokens; `int32`
pub(super) fn flash_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    starts: &Tensor,
    longest: i64,
    scale: f64,
) -> [Tensor; 4] {
    let mut out = [null_mut(); 4];
    // SAFETY: all are tensors; on success four new ones have been put into `out`.
    unsafe {
        check(smollm3_flash_attention(
            out.as_mut_ptr(),
            q.as_ptr(),
            k.as_ptr(),
            v.as_ptr(),
            starts.as_ptr(),
            longest,
            scale,
        ));
        out.map(|tensor| Tensor::from_ptr(tensor))
    }
}

/// Whether [`flash_attention`] runs on this device: tried with one token. It does not on GPUs before Ampere, nor in builds
/// of LibTorch without it.
pub(super) fn has_flash_attention(device: tch::Device) -> bool {
    let token = Tensor::zeros([1, 1, 8], (tch::Kind::BFloat16, device));
    let starts = Tensor::from_slice(&[0i32, 1]).to_device(device);
    let mut out = [null_mut(); 4];
    // SAFETY: as in `flash_attention`.
    let error = unsafe {
        smollm3_flash_attention(
            out.as_mut_ptr(),
            token.as_ptr(),
            token.as_ptr(),
            token.as_ptr(),
            starts.as_ptr(),
            1,
            1.0,
        )
    };
    if error.is_null() {
        for tensor in out {
            // SAFETY: four new tensors have been put into `out`.
            drop(unsafe { Tensor::from_ptr(tensor) });
        }
        return true;
    }
    // SAFETY: a string that `strdup` made for us, not used after this.
    unsafe { libc::free(error.cast()) };
    false
}

/// LibTorch's own AdamW, in place. `gradient` is already scaled.
pub(super) fn fused_adamw(
    value: &mut Tensor,
    first: &mut Tensor,
    second: &mut Tensor,
    gradient: &Tensor,
    step: AdamWStep,
) {
    // It computes both corrections itself from the number of the step. After so many they are 1 in its f32, and ours
    // go into rate and epsilon: m / (√v / c + ε) = c · m / (√v + c · ε).
    let long_after = Tensor::from_slice(&[1e9f32]).to_device(value.device()).squeeze();
    let correction = f64::from(step.second_correction);
    let rate = f64::from(step.rate) * correction;
    let decay = if rate > 0.0 {
        f64::from(1.0 - step.keep) / rate
    } else {
        0.0
    };
    let [beta1, beta2] = step.betas.map(f64::from);
    // SAFETY: all are tensors, and nobody else sees those that are written to.
    unsafe {
        check(smollm3_fused_adamw(
            value.as_ptr(),
            gradient.as_ptr(),
            first.as_ptr(),
            second.as_ptr(),
            long_after.as_ptr(),
            rate,
            beta1,
            beta2,
            decay,
            f64::from(step.epsilon) * correction,
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_flash_attention_does_not_run_is_found_out_without_a_panic() {
        assert!(!has_flash_attention(tch::Device::Cpu));
    }
}
