//! Rust source as its code alone: comments, strings and tests blanked, every line in its place.
//!
//! A light scanner and no parser: it trusts rustfmt's layout, in which an item closes with `}` at the
//! indentation at which it began.

use std::path::Path;

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    /// The line of its `fn`, counted from 1.
    pub line: usize,
    /// Lines from its `fn` to its closing brace, both included.
    pub lines: usize,
}

/// The lines of a file with comments, strings and character literals replaced by spaces.
pub fn code_lines(text: &str) -> Vec<String> {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after_word = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let (piece, is_code) = match opaque_length(rest, after_word) {
            Some(length) => (&rest[..length], false),
            None => (&rest[..first.len_utf8()], true),
        };
        code.extend(piece.chars().map(|c| if is_code || c == '\n' { c } else { ' ' }));
        rest = &rest[piece.len()..];
    }
    code.lines().map(str::to_owned).collect()
}

/// The lines with every `#[cfg(test)]` item blanked.
pub fn without_tests(mut lines: Vec<String>) -> Vec<String> {
    let mut index = 0;
    while index < lines.len() {
        if !is_test_attribute(&lines[index]) {
            index += 1;
            continue;
        }
        let end = test_item_end(&lines, index);
        lines[index..=end].iter_mut().for_each(String::clear);
        index = end + 1;
    }
    lines
}

/// Every function of the code, nested ones too.
pub fn functions(lines: &[String]) -> Vec<Function> {
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let Some((header_end, end)) = item_end(lines, index) else { continue };
        let has_body = end > header_end || lines[end].trim_end().ends_with('}');
        if has_body {
            found.push(Function { name: name.to_owned(), line: index + 1, lines: end - index + 1 });
        }
    }
    found
}

/// Whether the whole file is a test: it lies in `tests`, or is the `tests.rs` of a module.
pub fn is_test_file(path: &Path) -> bool {
    let in_tests = path.components().any(|one| one.as_os_str() == "tests");
    in_tests || path.file_name().is_some_and(|name| name == "tests.rs")
}

fn is_test_attribute(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test,")
}

/// The last line of the item that the attribute on line `start` belongs to.
fn test_item_end(lines: &[String], start: usize) -> usize {
    let is_attribute = |line: &String| line.trim_start().starts_with("#[") && line.trim_end().ends_with(']');
    let Some(item) =
        (start..lines.len()).find(|&at| !is_attribute(&lines[at]) && !lines[at].trim().is_empty())
    else {
        return start;
    };
    // A variant, a field or a match arm has no brace of its own.
    if lines[item].trim_end().ends_with(',') {
        return item;
    }
    item_end(lines, item).map_or(item, |(_, end)| end)
}

/// The line on which the item's header ends and the line on which the item ends.
fn item_end(lines: &[String], start: usize) -> Option<(usize, usize)> {
    let header = (start..lines.len()).find(|&at| lines[at].trim_end().ends_with(['{', ';', '}']))?;
    if !lines[header].trim_end().ends_with('{') {
        return Some((header, header));
    }
    let indent = indentation(&lines[start]);
    let closes = |line: &String| indentation(line) == indent && line.trim_start().starts_with('}');
    let end = (header + 1..lines.len()).find(|&at| closes(&lines[at]))?;
    Some((header, end))
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn function_name(line: &str) -> Option<&str> {
    const QUALIFIERS: &[&str] = &["pub", "const", "async", "unsafe", "extern", "default"];
    let mut words =
        line.split_whitespace().skip_while(|word| QUALIFIERS.contains(word) || word.starts_with("pub("));
    if words.next() != Some("fn") {
        return None;
    }
    words.next()?.split(['(', '<']).next()
}

/// How many bytes at the start of `rest` are a comment or a literal whose content is not code.
fn opaque_length(rest: &str, after_word: bool) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment_length(rest));
    }
    match rest.as_bytes()[0] {
        b'"' => Some(string_length(rest)),
        b'\'' => character_length(rest),
        b'r' | b'b' | b'c' if !after_word => raw_string_length(rest),
        _ => None,
    }
}

fn block_comment_length(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        let pair = rest.as_bytes().get(at..at + 2).unwrap_or_default();
        match pair {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn string_length(rest: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of `'x'` or `'\x'`; a lifetime is code and has none.
fn character_length(rest: &str) -> Option<usize> {
    let mut characters = rest.char_indices().skip(1);
    let (_, first) = characters.next()?;
    let (at, second) = characters.next()?;
    if first == '\\' {
        let escaped_end = at + second.len_utf8();
        return rest[escaped_end..].find('\'').map(|quote| escaped_end + quote + 1);
    }
    (second == '\'').then_some(at + 1)
}

fn raw_string_length(rest: &str) -> Option<usize> {
    let prefix = ["r", "br", "cr"].into_iter().find(|prefix| rest.starts_with(*prefix))?;
    let tail = &rest[prefix.len()..];
    let hashes = tail.len() - tail.trim_start_matches('#').len();
    let content = tail[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let opening = prefix.len() + hashes + 1;
    Some(content.find(&close).map_or(rest.len(), |at| opening + at + close.len()))
}

#[cfg(test)]
mod tests;
