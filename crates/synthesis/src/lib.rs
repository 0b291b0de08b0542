//! Prompts in, rows with answers of models out: conversations to fine-tune on, pairs to prefer by.
//!
//! ```text
//! prompts ── answer_all ── OUT.answers ── write_rows ── OUT
//!               │ checkpoints, endpoints
//! ```
//!
//! * [`prompt`]: rows of files as conversations that wait for an answer.
//! * [`model`]: who answers and how it is asked; [`endpoint`]: an OpenAI-compatible server, [`checkpoint`]: a folder.
//! * [`journal`]: every answer as it comes, in a file beside the rows. Work that is stopped or killed goes on from there
//!   and ends in the same bytes: what is drawn for an answer depends on the seed and its place alone.
//! * [`mod@answer_all`]: all models at work; [`rows`]: the answers that are good enough, in the order of the prompts.
//!
//! Answers go to a journal rather than to the rows themselves because they come in any order: an endpoint works on many
//! at once and some take a hundred times as long as others, and none that was paid for may be lost.

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
mod work;

pub use answer::{Answer, Finish};
pub use answer_all::{Progress, answer_all};
pub use checkpoint::CheckpointModel;
pub use endpoint::{Endpoint, Key, Patience};
pub use error::{Result, SynthesisError};
pub use journal::{Journal, Place};
pub use model::{Asked, Model};
pub use prompt::{Asking, BadRows, Prompt, Prompts, Survey};
pub use rows::{Form, LeftOut, Written, write_rows};
pub use settings::Settings;
