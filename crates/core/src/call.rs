//! A call of a function that a module exports.

use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;

use crate::{Error, ErrorKind, Usage};

/// What is called, with what.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Name of the function, as the module exports it.
    pub function: String,
    /// Its arguments, in order.
    pub arguments: Vec<Value>,
    /// Give it up after this time.
    pub timeout: Option<Duration>,
}

impl Call {
    /// Longest text of a call, bytes: what is larger is data, and not to be typed.
    pub const TEXT_MAX: usize = 1 << 20;

    /// What a caller is told whose call was given up at its deadline.
    #[must_use]
    pub fn late(&self) -> Error {
        let limit = self.timeout.unwrap_or_default();
        let why = format!("it had not returned after {} ms", limit.as_millis());
        Error::new(ErrorKind::Timeout, "call the function", why).on(&self.function)
    }
}

/// Reads a call as it is written: the function's name, and its arguments as JSON, as in `add(40, 2)`.
impl FromStr for Call {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{why}; write NAME(ARGUMENT, …)");
        if text.len() > Self::TEXT_MAX {
            return Err(wrong("it is longer than 1 MiB"));
        }
        let text = text.trim();
        let (function, rest) = text.split_once('(').ok_or_else(|| wrong("it has no '('"))?;
        let arguments = rest.strip_suffix(')').ok_or_else(|| wrong("it does not end with ')'"))?;
        let function = function.trim_end();
        if function.is_empty() {
            return Err(wrong("it names no function"));
        }
        let arguments = serde_json::from_str(&format!("[{arguments}]"))
            .map_err(|why| wrong(&format!("its arguments are no JSON ({})", without_place(&why))))?;
        Ok(Self { function: function.to_owned(), arguments, timeout: None })
    }
}

/// Why a text is no JSON. Where, would be counted from the brackets that were added.
fn without_place(why: &serde_json::Error) -> String {
    let why = why.to_string();
    why.rfind(" at line ").map_or(why.clone(), |at| why[..at].to_owned())
}

/// What a function returned.
#[derive(Debug, Clone, PartialEq)]
pub struct Returned {
    /// Its results, in order. Most functions have one or none.
    pub values: Vec<Value>,
    /// What it used.
    pub usage: Usage,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_call_is_a_name_and_json() {
        let call = |text: &str| text.parse::<Call>().map(|call| (call.function, call.arguments));
        assert_eq!(call("add(40, 2)"), Ok(("add".into(), vec![json!(40), json!(2)])));
        assert_eq!(call(" now () "), Ok(("now".into(), vec![])));
        assert_eq!(call(r#"say("a(b),c)")"#), Ok(("say".into(), vec![json!("a(b),c)")])));
        assert_eq!(call("a:b/c#d-e([1.5, null])"), Ok(("a:b/c#d-e".into(), vec![json!([1.5, null])])));
    }

    #[test]
    fn a_fraction_is_the_one_that_was_written() {
        for text in [
            "-2.5e33",
            "0.1",
            "1e23",
            "2.2250738585072011e-308",
            "9007199254740993.0",
            "7.2057594037927933e16",
        ] {
            let call: Call = format!("f({text})").parse().expect("a call");
            let (read, written) = (call.arguments[0].as_f64(), text.parse::<f64>().expect("a number"));
            assert_eq!(read.map(f64::to_bits), Some(written.to_bits()), "{text}");
        }
    }

    #[test]
    fn what_is_no_call_is_told_why() {
        for (text, why) in [
            ("add", "it has no '('"),
            ("add(1", "it does not end with ')'"),
            ("add(1) + 1", "it does not end with ')'"),
            ("(1)", "it names no function"),
            ("add(1,)", "its arguments are no JSON (trailing comma)"),
            ("add(x)", "its arguments are no JSON (expected value)"),
            ("add(1], [2)", "its arguments are no JSON (trailing characters)"),
        ] {
            let told = text.parse::<Call>().expect_err(text);
            assert!(told.contains(why), "{told}");
        }
        let nested = format!("f({}1{})", "[".repeat(10_000), "]".repeat(10_000));
        assert!(nested.parse::<Call>().expect_err("too deep").contains("recursion limit"));
        assert!("f(".repeat(1 << 20).parse::<Call>().expect_err("too long").contains("longer than"));
    }
}
