//! Generates training data from checkpoints and OpenAI-compatible endpoints: conversations and preference pairs.
//!
//! ```text
//! prompts ── answer_all ── OUT.answers ── write_rows ── OUT
//!               │ checkpoints, endpoints
//! ```
//!
//! * [`prompt`]: rows of files as prompts.
//! * [`model`]: models and their sampling; [`endpoint`]: an OpenAI-compatible server, [`checkpoint`]: a folder.
//! * [`journal`]: every answer as it arrives, in a file next to the rows. Work that was stopped or killed resumes from there
//!   and gives the same bytes: the sampling of an answer depends only on the seed and its place.
//! * [`mod@answer_all`]: runs all models; [`rows`]: writes the usable answers, in the order of the prompts.
//!
//! Answers go to a journal first because they arrive in any order: an endpoint works on many at once, some take a hundred
//! times as long as others, and none that was paid for may be lost.

pub mod answer;
pub mod answer_all;
pub mod checkpoint;
mod completion;
pub mod endpoint;
mod error;
pub mod journal;
pub mod model;
pub mod prompt;
pub mod rows;
mod settings;
mod worker;

pub use answer::{Answer, Finish};
pub use answer_all::{Progress, answer_all};
pub use checkpoint::CheckpointModel;
pub use endpoint::{Endpoint, Key, Patience};
pub use error::{Result, SynthesisError};
pub use journal::{AnswerId, Journal};
pub use model::{Asked, Model};
pub use prompt::{Asking, BadRows, Prompt, Prompts, Survey};
pub use rows::{Form, LeftOut, Written, write_rows};
pub use settings::Settings;
