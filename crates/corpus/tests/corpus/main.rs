//! Tests of the corpus crate, one module for each module of `src/`.
//!
//! One binary: the crate links large libraries, and linking them once keeps the tests quick.

mod bench;
mod cache;
mod components;
mod encoder;
mod fetch;
mod fixtures;
mod read;
mod remote;
mod rows;
mod server;
mod shards;
mod store;
mod text;
mod tokenize;
mod tokenizer;
mod tokenizer_damage;
