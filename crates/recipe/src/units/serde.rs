//! Quantities in TOML and JSON: always strings, except for a context length.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::json;

use super::parse::Quantity;
use super::{BatchSize, Bytes, ContextLength, Pairs, Percent, Sequences, Span, Steps, Tokens};

/// Reads a [`Quantity`] from a string, and refuses a bare number with the way to write it.
struct QuantityVisitor<Q>(PhantomData<Q>);

impl<Q: Quantity> de::Visitor<'_> for QuantityVisitor<Q> {
    type Value = Q;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as {}", Q::NAME, Q::EXAMPLE)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Q, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Q, E> {
        let text = number.to_string();
        if Q::BARE {
            text.parse().map_err(E::custom)
        } else {
            Err(E::custom(Q::refuse(&text, "has no unit")))
        }
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Q, E> {
        match i64::try_from(number) {
            Ok(number) => self.visit_i64(number),
            Err(_) => Err(E::custom(Q::refuse(&number.to_string(), "is out of range"))),
        }
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Q, E> {
        Err(E::custom(Q::refuse(&number.to_string(), "has no unit")))
    }
}

/// A string; where a bare number may stand for it, an integer too. The title says how it is written.
fn schema_of<Q: Quantity>() -> Schema {
    let types = match Q::BARE {
        true => json!(["string", "integer"]),
        false => json!("string"),
    };
    json_schema!({ "type": types, "title": format!("{} such as {}", Q::NAME, Q::EXAMPLE) })
}

macro_rules! as_string {
    ($($quantity:ty),+) => {$(
        impl<'de> Deserialize<'de> for $quantity {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(QuantityVisitor(PhantomData))
            }
        }
        impl Serialize for $quantity {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl JsonSchema for $quantity {
            fn schema_name() -> Cow<'static, str> {
                stringify!($quantity).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                schema_of::<$quantity>()
            }
        }
    )+};
}

as_string!(
    Tokens,
    Steps,
    Sequences,
    Pairs,
    ContextLength,
    Bytes,
    Percent,
    Span,
    BatchSize
);
