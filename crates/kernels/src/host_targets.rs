//! Targets on the host, as kernels take them.

/// Tokens to predict and the weights of their losses.
#[derive(Debug, Clone)]
pub(crate) struct HostTargets {
    /// −1 where there is nothing to predict.
    pub ids: Vec<i32>,
    /// Factor of each loss and its gradients; 1 for all without it.
    pub weights: Option<Vec<f32>>,
}
