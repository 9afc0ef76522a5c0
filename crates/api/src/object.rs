//! Requests are JSON objects. What serde derives takes arrays for them, too: `[]` would be a request without a key.

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;

/// Gives a type whose derived code says `remote = "Self"` its place among all others, as an object alone.
macro_rules! objects {
    ($($object:ty),+) => {$(
        impl<'de> serde::Deserialize<'de> for $object {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <$object>::deserialize(crate::object::Object(deserializer))
            }
        }

        impl serde::Serialize for $object {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                <$object>::serialize(self, serializer)
            }
        }
    )+};
}
pub(crate) use objects;

/// Reads an object, and nothing else.
pub(crate) struct Object<D>(pub(crate) D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Object<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(Only(visitor))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// Hides from the reader that the derived code knows what to do with anything but an object.
struct Only<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for Only<V> {
    type Value = V::Value;

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(map)
    }
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;

    use crate::*;

    fn refuses_arrays<T: DeserializeOwned>() {
        for wrong in ["[]", "[null]", "[\"a\"]", "[[]]", "null", "1", "\"\"", "[1,2]", "[{},{}]"] {
            let read = serde_json::from_str::<T>(wrong);
            assert!(read.is_err(), "{}: {wrong}", std::any::type_name::<T>());
        }
    }

    #[test]
    fn no_request_is_an_array() {
        refuses_arrays::<SandboxRequest>();
        refuses_arrays::<RunRequest>();
        refuses_arrays::<CommandRequest>();
        refuses_arrays::<Mount>();
        refuses_arrays::<TerminalSize>();
        refuses_arrays::<TimeoutRequest>();
        refuses_arrays::<PoolRequest>();
        refuses_arrays::<DrainRequest>();
        refuses_arrays::<SignalRequest>();
        refuses_arrays::<MakeDirRequest>();
        refuses_arrays::<RenameRequest>();
        refuses_arrays::<ShutdownRequest>();
    }

    #[test]
    fn an_array_is_no_part_of_a_request_either() {
        for wrong in [r#"{"command":[["true"]]}"#, r#"{"sandbox":[],"command":{"argv":["true"]}}"#] {
            let why = serde_json::from_str::<RunRequest>(wrong).expect_err(wrong).to_string();
            assert!(why.contains("invalid type: sequence, expected an object"), "{why}");
        }
    }
}
