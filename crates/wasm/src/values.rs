//! Numbers of Wasm and of JSON.

use agentkernel_core::{Call, Error, ErrorKind, Result};
use serde_json::{Number, Value};
use wasmtime::{FuncType, Val, ValType};

const WHAT: &str = "call the function";

/// The arguments of a call, as the function takes them.
pub(crate) fn arguments(call: &Call, takes: &FuncType) -> Result<Vec<Val>> {
    if let Some(other) = takes.params().chain(takes.results()).find(|kind| !is_number(kind)) {
        let why = format!("its type is {}, and {other} cannot be written as JSON", signature(takes));
        return Err(refused(&call.function, &why));
    }
    let (given, wanted) = (call.arguments.len(), takes.params().len());
    if given != wanted {
        let why = format!("it takes {wanted} and not {given} arguments: {}", signature(takes));
        return Err(refused(&call.function, &why));
    }
    let one = |(index, (value, kind)): (usize, (&Value, ValType))| {
        argument(value, &kind).ok_or_else(|| {
            let why = format!("argument {} is {value}, which is no {kind}: {}", index + 1, signature(takes));
            refused(&call.function, &why)
        })
    };
    call.arguments.iter().zip(takes.params()).enumerate().map(one).collect()
}

fn refused(function: &str, why: &str) -> Error {
    Error::new(ErrorKind::Usage, WHAT, why).on(function)
}

fn is_number(kind: &ValType) -> bool {
    matches!(kind, ValType::I32 | ValType::I64 | ValType::F32 | ValType::F64)
}

/// The type of a function, as `(i32, i64) -> f64`.
fn signature(takes: &FuncType) -> String {
    let names = |kinds: &mut dyn Iterator<Item = ValType>| {
        kinds.map(|kind| kind.to_string()).collect::<Vec<_>>().join(", ")
    };
    let results = names(&mut takes.results());
    let results = if takes.results().len() == 1 { results } else { format!("({results})") };
    format!("({}) -> {results}", names(&mut takes.params()))
}

/// A number as Wasm has it. Integers may be written with or without a sign, for Wasm does not tell them apart; a fraction
/// may lose digits, as it does wherever it is written down.
fn argument(value: &Value, kind: &ValType) -> Option<Val> {
    let special = || match value.as_str()? {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    };
    let fraction = || value.as_f64().or_else(special);
    match kind {
        ValType::I32 => {
            let signed = value.as_i64().and_then(|number| i32::try_from(number).ok());
            let unsigned =
                || value.as_u64().and_then(|number| u32::try_from(number).ok()).map(u32::cast_signed);
            signed.or_else(unsigned).map(Val::I32)
        }
        ValType::I64 => value.as_i64().or_else(|| value.as_u64().map(u64::cast_signed)).map(Val::I64),
        #[expect(clippy::cast_possible_truncation, reason = "the nearest f32 is what is meant")]
        ValType::F32 => fraction().map(|number| Val::F32((number as f32).to_bits())),
        ValType::F64 => fraction().map(|number| Val::F64(number.to_bits())),
        _ => None,
    }
}

/// A result. Integers come with their sign; what JSON has no number for comes as its name.
pub(crate) fn result(value: &Val) -> Value {
    let fraction = |number: f64| match Number::from_f64(number) {
        Some(number) => Value::Number(number),
        None if number.is_nan() => Value::from("NaN"),
        None => Value::from(if number > 0.0 { "Infinity" } else { "-Infinity" }),
    };
    match value {
        Val::I32(number) => Value::from(*number),
        Val::I64(number) => Value::from(*number),
        Val::F32(bits) => fraction(f64::from(f32::from_bits(*bits))),
        Val::F64(bits) => fraction(f64::from_bits(*bits)),
        // Functions with other types are not called.
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_go_in_and_out_or_are_refused() {
        let number = |value: Value, kind: ValType| argument(&value, &kind).map(|value| result(&value));
        let (i32, i64, f32, f64) = (ValType::I32, ValType::I64, ValType::F32, ValType::F64);
        assert_eq!(number(json!(-7), i32.clone()), Some(json!(-7)));
        assert_eq!(number(json!(4_294_967_295_u32), i32.clone()), Some(json!(-1)), "without a sign");
        assert_eq!(number(json!(4_294_967_296_u64), i32.clone()), None);
        assert_eq!(number(json!(1.5), i32.clone()), None);
        assert_eq!(number(json!("1"), i32.clone()), None);
        assert_eq!(number(json!(true), i32), None);
        assert_eq!(number(json!(u64::MAX), i64.clone()), Some(json!(-1)));
        assert_eq!(number(json!(i64::MIN), i64), Some(json!(i64::MIN)));
        assert_eq!(number(json!(0.5), f32.clone()), Some(json!(0.5)));
        assert_eq!(number(json!(1e300), f32), Some(json!("Infinity")));
        assert_eq!(number(json!(3), f64.clone()), Some(json!(3.0)));
        assert_eq!(number(json!("-Infinity"), f64.clone()), Some(json!("-Infinity")));
        assert_eq!(number(json!("NaN"), f64.clone()), Some(json!("NaN")));
        assert_eq!(number(json!(null), f64), None);
    }
}
