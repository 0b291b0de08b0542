//! Log-likelihoods of texts after other texts, for multiple choice.

mod request;
mod score;

pub(crate) use request::encode;
pub use request::{Request, prefix_token};
pub use score::{LogLikelihood, log_likelihoods};

/// How many of the first items have up to `most` tokens together, but one at least.
pub(crate) fn at_once<T>(items: &[T], most: usize, tokens: impl Fn(&T) -> usize) -> usize {
    let mut sum = 0;
    let fitting = items.iter().take_while(|item| {
        sum += tokens(item);
        sum <= most
    });
    fitting.count().max(1).min(items.len())
}
