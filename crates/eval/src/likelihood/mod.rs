//! How probable a model finds texts after other texts: log-likelihoods, for multiple choice.

mod request;
mod score;

pub(crate) use request::encode;
pub use request::{Request, prefix_token};
pub use score::{LogLikelihood, log_likelihoods};
