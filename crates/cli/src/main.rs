//! The `smollm3` command.
fn main() {}
