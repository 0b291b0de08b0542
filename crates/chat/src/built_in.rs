//! The templates that come with this crate, by name.

/// Names of the built-in templates, for [`Template::builtin`](crate::Template::builtin).
pub const BUILTIN: [&str; 3] = ["smollm3", "chatml", "chatml-masked"];

/// Those of them that mark what the assistant writes.
pub const MARKED: [&str; 2] = ["smollm3", "chatml-masked"];
