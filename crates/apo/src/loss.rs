//! The losses of one pair, with their derivatives, in f64 on the host: a few numbers a pair.

use smollm3_recipe::{PreferenceKind, PreferenceLoss};

/// Loss of a pair and its derivatives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairLoss {
    /// The loss, without the part of the chosen answer's own.
    pub value: f64,
    /// Its derivative by the chosen answer's log-probability.
    pub d_chosen: f64,
    /// Its derivative by the rejected answer's log-probability.
    pub d_rejected: f64,
}

/// The loss of a pair whose answers are `chosen` and `rejected` nats more probable to the model than to the reference.
///
/// With label smoothing ε it is `(1 − ε) ℓ(chosen, rejected) + ε ℓ(rejected, chosen)`; for `sigmoid` that is TRL's.
pub fn pair_loss(settings: &PreferenceLoss, chosen: f64, rejected: f64) -> PairLoss {
    let one = |a, b| certain_loss(settings.kind, settings.beta, a, b);
    let (right, smoothing) = (one(chosen, rejected), settings.label_smoothing);
    if smoothing == 0.0 {
        return right;
    }
    let wrong = one(rejected, chosen);
    let mixed = |right: f64, wrong: f64| (1.0 - smoothing) * right + smoothing * wrong;
    PairLoss {
        value: mixed(right.value, wrong.value),
        d_chosen: mixed(right.d_chosen, wrong.d_rejected),
        d_rejected: mixed(right.d_rejected, wrong.d_chosen),
    }
}

fn certain_loss(kind: PreferenceKind, beta: f64, chosen: f64, rejected: f64) -> PairLoss {
    let (c, r) = (beta * chosen, beta * rejected);
    // σ′ = σ(x) σ(−x)
    let slope = |x: f64| beta * sigmoid(x) * sigmoid(-x);
    match kind {
        PreferenceKind::ApoZero => PairLoss {
            value: sigmoid(-c) + sigmoid(r),
            d_chosen: -slope(c),
            d_rejected: slope(r),
        },
        PreferenceKind::ApoDown => PairLoss {
            value: sigmoid(c) + sigmoid(r - c),
            d_chosen: slope(c) - slope(c - r),
            d_rejected: slope(c - r),
        },
        PreferenceKind::Sigmoid => PairLoss {
            // ln(1 + e^−x), without overflow.
            value: (r - c).max(0.0) + (-(c - r).abs()).exp().ln_1p(),
            d_chosen: -beta * sigmoid(r - c),
            d_rejected: beta * sigmoid(r - c),
        },
    }
}

fn sigmoid(x: f64) -> f64 {
    match x >= 0.0 {
        true => 1.0 / (1.0 + (-x).exp()),
        false => x.exp() / (1.0 + x.exp()),
    }
}
