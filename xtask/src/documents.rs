//! What documents say of the repository is so: every link leads somewhere, and what the documents about security cite as a
//! proof is there.
//!
//! In [`PROOFS`] a test is cited as a link, its name as the text and its file as the target; a rule of the conformance
//! suite and a control of the posture by their names alone.

mod words;

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::markdown::{Document, Link};
use crate::violation::Violation;
use crate::workspace::{Workspace, WorkspaceError};
use words::{Words, is_sentence};

/// The documents whose promises must have their proofs.
const PROOFS: &[&str] = &["SECURITY.md", "docs/threat-model.md", "docs/security-posture.md"];

/// The one of them that explains every control.
const POSTURE: &str = "docs/security-posture.md";

/// What was looked at, and what is wrong.
pub struct Checked {
    pub documents: usize,
    pub links: usize,
    pub proofs: usize,
    pub violations: Vec<Violation>,
}

/// Checks every document of the workspace.
pub fn check(workspace: &Workspace) -> Result<Checked, WorkspaceError> {
    let words = Words::gather(&workspace.root)?;
    // The documents about security are there, or this is an error.
    for path in PROOFS {
        Workspace::read(&workspace.root.join(path))?;
    }
    let mut checked = Checked { documents: 0, links: 0, proofs: 0, violations: Vec::new() };
    for path in markdown_files(&workspace.root)? {
        let page =
            Page { path: workspace.relative(&path), document: Document::read(&Workspace::read(&path)?) };
        checked.documents += 1;
        checked.links += page.document.links.len();
        let folder = path.parent().unwrap_or(&workspace.root);
        for link in &page.document.links {
            checked.violations.extend(page.broken_link(folder, link)?);
        }
        if PROOFS.contains(&page.path.as_str()) {
            checked.proofs += page.prove(folder, &words, &mut checked.violations)?;
        }
    }
    Ok(checked)
}

/// A document and its place.
struct Page {
    path: String,
    document: Document,
}

impl Page {
    fn violation(&self, line: usize, rule: impl Into<String>, way_out: impl Into<String>) -> Violation {
        Violation { place: format!("{}:{line}", self.path), rule: rule.into(), way_out: way_out.into() }
    }

    /// What is wrong with where a link leads.
    fn broken_link(&self, folder: &Path, link: &Link) -> Result<Option<Violation>, WorkspaceError> {
        let Some(target) = &link.target else {
            let rule = format!("[{}] refers to a link that is defined in the same document", link.text);
            return Ok(Some(self.violation(link.line, rule, "add a line `[id]: target`")));
        };
        if target.contains("://") || target.starts_with("mailto:") {
            return Ok(None);
        }
        let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
        let there = folder.join(file);
        if !file.is_empty() && !there.exists() {
            let rule = format!("the link to {target} leads to a file");
            return Ok(Some(self.violation(link.line, rule, "mend the path, or write the file")));
        }
        let has_anchor = anchor.is_empty()
            || if file.is_empty() {
                self.document.has_anchor(anchor)
            } else {
                Document::read(&Workspace::read(&there)?).has_anchor(anchor)
            };
        let rule = format!("the link to {target} leads to a heading");
        Ok((!has_anchor).then(|| self.violation(link.line, rule, "mend what follows the #")))
    }

    /// Checks what is cited as a proof, and returns how much that is.
    fn prove(
        &self,
        folder: &Path,
        words: &Words,
        violations: &mut Vec<Violation>,
    ) -> Result<usize, WorkspaceError> {
        let mut proofs = 0;
        for link in &self.document.links {
            let name = link.text.strip_prefix('`').and_then(|text| text.strip_suffix('`'));
            // A file that is not there is told as a broken link.
            let target = link.target.as_ref().filter(|target| is_rust(&folder.join(target)));
            let (Some(name), Some(target)) = (name, target) else { continue };
            proofs += 1;
            if let Some(rule) = words::unproven(&Workspace::read(&folder.join(target))?, name) {
                let way_out = "cite what is there, or take the promise back";
                violations.push(self.violation(link.line, format!("{rule} {target}"), way_out));
            }
        }
        for (line, span) in &self.document.spans {
            proofs += usize::from(words.has(span));
            if is_sentence(span) {
                let way_out = format!("write [`{span}`][id], and its file below");
                violations.push(self.violation(*line, "a test is cited with its file", way_out));
            } else if words.lacks(span) {
                let rule = format!("`{span}` is a rule of the suite, or a control of the posture");
                violations.push(self.violation(*line, rule, "cite what is there"));
            }
        }
        if self.path == POSTURE {
            let spans = self.document.spans.iter().map(|(_, span)| span.as_str());
            violations.extend(words.controls_beside(spans).map(|control| {
                self.violation(1, format!("`{control}` is explained, like every control"), "add its line")
            }));
        }
        Ok(proofs)
    }
}

fn is_rust(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "rs") && file.is_file()
}

/// Every document: those at the root, and all below `docs`.
fn markdown_files(root: &Path) -> Result<Vec<PathBuf>, WorkspaceError> {
    let mut files = Vec::new();
    for (folder, is_deep) in [(root.to_path_buf(), false), (root.join("docs"), true)] {
        collect(&folder, is_deep, &mut files)
            .map_err(|source| WorkspaceError::Read { path: folder.clone(), source })?;
    }
    files.sort();
    Ok(files)
}

fn collect(folder: &Path, is_deep: bool, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if is_deep {
                collect(&path, is_deep, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "md") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
