//! The JSON lines on standard output, each written whole and at once.

use std::io::{Result, Write};

use serde_json::Value;

use crate::attempt::{Attempt, Finding};

/// One line of `--list`.
pub fn listed(group: &str, attempt: &Attempt) -> Result<()> {
    let harmless = attempt.control == crate::attempt::Control::Host;
    line(&[
        ("id", attempt.id.into()),
        ("group", group.into()),
        ("what", attempt.what.into()),
        ("harmless_outside", harmless.into()),
        ("control", attempt.control.word().into()),
        ("informational", attempt.informational.into()),
        ("granted", attempt.granted.into()),
        ("refused", attempt.refused.into()),
    ])
}

/// The line of an attempt.
pub fn found(id: &str, finding: &Finding, is_informational: bool) -> Result<()> {
    line(&[
        ("id", id.into()),
        ("verdict", finding.verdict.word().into()),
        ("errno", finding.errno.into()),
        ("detail", finding.detail.as_str().into()),
        ("informational", is_informational.into()),
    ])
}

/// Writes an object whose fields stay in order.
pub fn line(fields: &[(&str, Value)]) -> Result<()> {
    let fields: Vec<String> =
        fields.iter().map(|(name, value)| format!("{}:{value}", Value::from(*name))).collect();
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{{{}}}\n", fields.join(",")).as_bytes())?;
    out.flush()
}
