//! Numbers of Wasm as text, to go into a machine and out of it: `i32:-1 f64:4614253070214989087`, fractions by their bits.

use wasmtime::Val;

/// The text of these numbers; a value that is no number has none.
#[must_use]
pub fn to_text(values: &[Val]) -> Option<String> {
    let one = |value: &Val| match value {
        Val::I32(number) => Some(format!("i32:{number}")),
        Val::I64(number) => Some(format!("i64:{number}")),
        Val::F32(bits) => Some(format!("f32:{bits}")),
        Val::F64(bits) => Some(format!("f64:{bits}")),
        _ => None,
    };
    Some(values.iter().map(one).collect::<Option<Vec<_>>>()?.join(" "))
}

/// The numbers of such a text; `None` of another.
#[must_use]
pub fn from_text(text: &str) -> Option<Vec<Val>> {
    let one = |word: &str| {
        let (kind, number) = word.split_once(':')?;
        match kind {
            "i32" => number.parse().ok().map(Val::I32),
            "i64" => number.parse().ok().map(Val::I64),
            "f32" => number.parse().ok().map(Val::F32),
            "f64" => number.parse().ok().map(Val::F64),
            _ => None,
        }
    };
    text.split(' ').filter(|word| !word.is_empty()).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_text_and_back_to_the_bit() {
        let values =
            [Val::I32(i32::MIN), Val::I64(i64::MAX), Val::F32(0x7fc0_0001), Val::F64((-0.0_f64).to_bits())];
        let text = to_text(&values).expect("numbers");
        assert_eq!(to_text(&from_text(&text).expect("numbers")), Some(text));
        assert!(from_text("").is_some_and(|none| none.is_empty()) && to_text(&[]).is_some());
        for wrong in ["i32", "i32:", "i32:99999999999", "v128:1", "f32:-1", "i32:1;i32:1"] {
            assert!(from_text(wrong).is_none(), "{wrong}");
        }
    }
}
