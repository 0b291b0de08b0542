//! Tests of the corpus crate, one module for each module of `src/`.
//!
//! One binary: the crate links large libraries, and linking them once keeps the tests quick.

mod fixtures;
mod store;
mod text;
mod tokenize;
mod tokenizer;
