//! What of a Markdown document can be checked: its links, its code spans, its headings.
//!
//! A light scanner and no parser: fenced blocks are blanked, a link is `[text](target)` or `[text][id]`, and a code
//! span ends where the same number of backticks comes again.

use std::collections::BTreeMap;

/// A document as far as it is looked at.
#[derive(Debug, Default)]
pub struct Document {
    pub links: Vec<Link>,
    /// Code spans that are no link's text, with their lines.
    pub spans: Vec<(usize, String)>,
    headings: Vec<String>,
}

/// A link to somewhere.
#[derive(Debug, PartialEq, Eq)]
pub struct Link {
    /// Counted from 1.
    pub line: usize,
    pub text: String,
    /// `None` for a reference that is defined nowhere.
    pub target: Option<String>,
}

impl Document {
    pub fn read(text: &str) -> Self {
        let text = without_fences(text);
        let headings = text.lines().filter(|line| line.starts_with('#')).map(anchor).collect();
        let (definitions, text) = definitions(&text);
        let mut document = Self { headings, ..Self::default() };
        document.scan(&text, &definitions);
        document
    }

    /// Whether a heading has this anchor, in GitHub's way of making them.
    pub fn has_anchor(&self, wanted: &str) -> bool {
        self.headings.iter().any(|heading| heading == wanted)
    }

    fn scan(&mut self, text: &str, definitions: &BTreeMap<String, String>) {
        let mut open = Vec::new();
        let mut at = 0;
        while let Some(byte) = text.as_bytes().get(at) {
            match byte {
                b'`' => {
                    let (content, length) = span(&text[at..]);
                    if let Some(content) = content {
                        self.spans.push((line_of(text, at), content.to_owned()));
                    }
                    at += length;
                    continue;
                }
                b'[' => open.push((at, self.spans.len())),
                b']' => {
                    if let Some((start, spans)) = open.pop()
                        && let Some(target) = target(&text[at + 1..], definitions)
                    {
                        self.spans.truncate(spans);
                        let (line, text) = (line_of(text, start), text[start + 1..at].to_owned());
                        self.links.push(Link { line, text, target });
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// The same lines, with those of fenced blocks empty.
fn without_fences(text: &str) -> String {
    let mut is_in_fence = false;
    let mut keep = |line: &str| {
        let is_fence = line.trim_start().starts_with("```");
        is_in_fence ^= is_fence;
        !is_fence && !is_in_fence
    };
    text.lines().map(|line| if keep(line) { format!("{line}\n") } else { "\n".to_owned() }).collect()
}

/// What `[id]: target` lines define, and the text with those lines empty.
fn definitions(text: &str) -> (BTreeMap<String, String>, String) {
    let mut found = BTreeMap::new();
    let mut rest = String::new();
    for line in text.lines() {
        let definition = line.strip_prefix('[').and_then(|line| line.split_once("]: "));
        match definition {
            Some((id, target)) => drop(found.insert(id.to_owned(), target.trim().to_owned())),
            None => rest.push_str(line),
        }
        rest.push('\n');
    }
    (found, rest)
}

/// Where a link leads whose text ends just before `rest`; the outer `None` if it is no link.
#[expect(clippy::option_option, reason = "no link, and a link that leads nowhere, are two things")]
fn target(rest: &str, definitions: &BTreeMap<String, String>) -> Option<Option<String>> {
    if let Some(inline) = rest.strip_prefix('(') {
        return Some(Some(inline.split_once(')')?.0.to_owned()));
    }
    let (id, _) = rest.strip_prefix('[')?.split_once(']')?;
    Some(definitions.get(id).cloned())
}

/// The content of the code span at the start of `rest`, and how long all of it is; no content if it does not end.
fn span(rest: &str) -> (Option<&str>, usize) {
    let ticks = rest.len() - rest.trim_start_matches('`').len();
    let fence = &rest[..ticks];
    match rest[ticks..].find(fence) {
        Some(end) => (Some(&rest[ticks..ticks + end]), ticks + end + ticks),
        None => (None, ticks),
    }
}

/// GitHub's anchor of a heading.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# What – is not promised: `x`

A [page](docs/a.md), [`a_name`][file] and [nobody][knows]; `a_span` and
``a ` b``. `[no](link)`

```sh
[not](seen) `either`
```
[file]: ../a.rs
";

    #[test]
    fn links_spans_and_anchors_are_found_with_their_lines() {
        let document = Document::read(TEXT);
        let link = |text: &str, target: Option<&str>| Link {
            line: 3,
            text: text.into(),
            target: target.map(str::to_owned),
        };
        let links =
            [link("page", Some("docs/a.md")), link("`a_name`", Some("../a.rs")), link("nobody", None)];
        assert_eq!(document.links, links);
        let spans: Vec<_> = document.spans.iter().map(|(line, span)| (*line, span.as_str())).collect();
        assert_eq!(spans, [(1, "x"), (3, "a_span"), (4, "a ` b"), (4, "[no](link)")]);
        assert!(document.has_anchor("what--is-not-promised-x"));
        assert!(!document.has_anchor("what-is-promised"));
    }
}
