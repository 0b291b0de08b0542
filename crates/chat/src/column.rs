//! What stands in a column of a row.

use serde_json::Value;

use crate::error::{ChatError, Result};
use crate::message::kind;

/// A list in a column of a row.
pub(crate) fn list(column: &str, value: &Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(items) => Ok(items.clone()),
        other => Err(ChatError::row(format!(
            "has {} as `{column}`; write a list",
            kind(other)
        ))),
    }
}
