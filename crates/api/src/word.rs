//! Bytes in JSON, of which none is lost.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::schema::{AdditionalProperties, Object, OneOf, Schema, Type};
use utoipa::openapi::{ObjectBuilder, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::object::objects;

objects!(Encoded);

/// A string of bytes: in JSON a string if it is UTF-8, else `{"base64":"…"}`.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word(pub Vec<u8>);

impl Word {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, for keeps.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl From<&str> for Word {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<String> for Word {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl From<Vec<u8>> for Word {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "\"{}\"", self.0.escape_ascii())
    }
}

/// The object of a word that is not UTF-8.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
struct Encoded {
    base64: String,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a string, or an object with one key, base64")]
enum Form {
    Text(String),
    Encoded(Encoded),
}

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => Encoded { base64: STANDARD.encode(&self.0) }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Form::deserialize(deserializer)? {
            Form::Text(text) => Ok(Self(text.into_bytes())),
            Form::Encoded(encoded) => {
                STANDARD.decode(encoded.base64).map(Self).map_err(serde::de::Error::custom)
            }
        }
    }
}

impl PartialSchema for Word {
    fn schema() -> RefOr<Schema> {
        let encoded = ObjectBuilder::new()
            .property("base64", Object::with_type(Type::String))
            .required("base64")
            .additional_properties(Some(AdditionalProperties::FreeForm(false)));
        let mut either = OneOf::new();
        either.description = Some("Bytes: a string if they are UTF-8, else base64.".into());
        either.items.push(Object::with_type(Type::String).into());
        either.items.push(encoded.build().into());
        Schema::OneOf(either).into()
    }
}

impl ToSchema for Word {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_stays_readable_and_bytes_are_told_apart() {
        let json = |bytes: &[u8]| serde_json::to_string(&Word(bytes.to_vec())).expect("written");
        assert_eq!(json("echo ä".as_bytes()), "\"echo ä\"");
        assert_eq!(json(b"\xff\x00"), "{\"base64\":\"/wA=\"}");
    }

    #[test]
    fn what_is_neither_is_refused() {
        for wrong in
            ["1", "null", "{}", "{\"base64\":\"?\"}", "{\"base64\":\"\",\"x\":1}", "[1]", "[\"/w==\"]"]
        {
            assert!(serde_json::from_str::<Word>(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_byte_is_lost(bytes in any::<Vec<u8>>()) {
            let json = serde_json::to_string(&Word(bytes.clone())).expect("written");
            prop_assert_eq!(serde_json::from_str::<Word>(&json).expect("read").0, bytes);
        }
    }
}
