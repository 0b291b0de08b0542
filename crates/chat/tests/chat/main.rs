//! Tests of the chat crate, one module for each module of `src/`.
//!
//! One binary: the crate links large libraries, and linking them once keeps the tests quick.

mod checkpoint;
mod conversation;
mod dialect;
mod drops;
mod encode;
mod explain;
mod fixtures;
mod generation;
mod jinja;
mod pair;
mod quoting;
mod rows;
mod spans;
mod template;
mod thought;
mod tokenizers;
mod tokens;
