//! How large things are: files and functions against their limits, and the built programs.

use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{fmt, fs};

use crate::source;
use crate::workspace::{Workspace, WorkspaceError};

/// More lines than `warn` is worth a look; more than `deny` is refused.
struct Limit {
    warn: usize,
    deny: usize,
}

const FILE: Limit = Limit { warn: 300, deny: 500 };
const FUNCTION: Limit = Limit { warn: 40, deny: 80 };

/// Folders of a target directory that hold no program to measure.
const NOT_PROGRAMS: &[&str] = &["deps", "incremental", ".fingerprint", "examples", "doc"];

/// How far below the target directory a built guest may lie.
const GUEST_DEPTH_MAX: usize = 8;

/// What was measured.
#[derive(Debug, Default)]
pub struct Report {
    files: usize,
    findings: Vec<Finding>,
    programs: Vec<(String, u64)>,
}

#[derive(Debug, PartialEq, Eq)]
struct Finding {
    level: Level,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Warning,
    Error,
}

/// Measures the whole workspace.
pub fn measure(workspace: &Workspace) -> Result<Report, WorkspaceError> {
    let mut report = Report { programs: programs(workspace), ..Report::default() };
    for path in Workspace::rust_files(&workspace.root)? {
        let place = workspace.relative(&path);
        let text = Workspace::read(&path)?;
        report.files += 1;
        report.findings.extend(file_finding(&place, &text));
        if !source::is_test_file(Path::new(&place)) {
            report.findings.extend(function_findings(&place, &text));
        }
    }
    Ok(report)
}

fn file_finding(place: &str, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    let (level, limit) = FILE.level(lines)?;
    Some(Finding { level, text: format!("{place}: {lines} lines, limit {limit}") })
}

fn function_findings(place: &str, text: &str) -> Vec<Finding> {
    let lines = source::without_tests(source::code_lines(text));
    let mut found = Vec::new();
    for function in source::functions(&lines) {
        let Some((level, limit)) = FUNCTION.level(function.lines) else { continue };
        let text = format!(
            "{place}:{}: fn {} has {} lines, limit {limit}",
            function.line, function.name, function.lines
        );
        found.push(Finding { level, text });
    }
    found
}

impl Limit {
    fn level(&self, lines: usize) -> Option<(Level, usize)> {
        if lines > self.deny {
            Some((Level::Error, self.deny))
        } else if lines > self.warn {
            Some((Level::Warning, self.warn))
        } else {
            None
        }
    }
}

/// The program and the newest guest, as far as they are built.
fn programs(workspace: &Workspace) -> Vec<(String, u64)> {
    let mut guests = Vec::new();
    collect_guests(&workspace.target, GUEST_DEPTH_MAX, &mut guests);
    let guest = guests.into_iter().max_by_key(|path| modified(path));
    let program = workspace.target.join("release/agentkernel");
    [Some(program), guest]
        .into_iter()
        .flatten()
        .filter_map(|path| Some((workspace.relative(&path), fs::metadata(&path).ok()?.len())))
        .collect()
}

/// A guest counts when it was built with the profile `guest`: that is the one which is embedded.
fn collect_guests(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        let name = entry.file_name();
        if kind.is_dir() && depth > 0 && !NOT_PROGRAMS.iter().any(|skip| name == *skip) {
            collect_guests(&entry.path(), depth - 1, found);
        } else if kind.is_file() && name == "agentkernel-guest" && folder.ends_with("guest") {
            found.push(entry.path());
        }
    }
}

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path).and_then(|file| file.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

impl Report {
    /// How many hard limits are broken.
    pub fn errors(&self) -> usize {
        self.count(Level::Error)
    }

    fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let level = match finding.level {
                Level::Warning => "warning",
                Level::Error => "error",
            };
            writeln!(f, "{level}: {}", finding.text)?;
        }
        for (program, bytes) in &self.programs {
            writeln!(f, "{program}: {} KiB", bytes.div_ceil(1024))?;
        }
        let (errors, warnings) = (self.count(Level::Error), self.count(Level::Warning));
        writeln!(f, "sizes: {} files, {errors} errors, {warnings} warnings", self.files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function_of(lines: usize) -> String {
        format!("fn long() {{\n{}}}\n", "    a();\n".repeat(lines - 2))
    }

    #[test]
    fn a_file_warns_over_300_lines_and_fails_over_500() {
        let of = |lines: usize| file_finding("a.rs", &"\n".repeat(lines)).map(|finding| finding.level);
        assert_eq!([of(300), of(301)], [None, Some(Level::Warning)]);
        assert_eq!([of(500), of(501)], [Some(Level::Warning), Some(Level::Error)]);
    }

    #[test]
    fn a_function_warns_over_40_lines_and_fails_over_80() {
        let of = |lines: usize| function_findings("a.rs", &function_of(lines)).pop().map(|one| one.level);
        assert_eq!([of(40), of(41)], [None, Some(Level::Warning)]);
        assert_eq!([of(80), of(81)], [Some(Level::Warning), Some(Level::Error)]);
    }

    #[test]
    fn a_long_function_in_a_test_module_is_nobodys_business() {
        let text = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "    a();\n".repeat(90));
        assert_eq!(function_findings("a.rs", &text), []);
    }

    #[test]
    fn the_report_names_file_line_and_limit() {
        let mut report = Report { files: 1, ..Report::default() };
        report.findings.extend(function_findings("a.rs", &function_of(90)));
        report.findings.extend(file_finding("b.rs", &"\n".repeat(301)));
        report.programs.push(("target/release/agentkernel".into(), 2049));
        assert_eq!(report.errors(), 1);
        assert_eq!(
            report.to_string(),
            "error: a.rs:1: fn long has 90 lines, limit 80\nwarning: b.rs: 301 lines, limit 300\n\
             target/release/agentkernel: 3 KiB\nsizes: 1 files, 1 errors, 1 warnings\n"
        );
    }

    #[test]
    fn only_a_guest_of_its_own_profile_is_measured() {
        let target = tempfile::tempdir().unwrap();
        for folder in ["guest", "debug", "release/build/a/out/guest", "guest/deps"] {
            fs::create_dir_all(target.path().join(folder)).unwrap();
            fs::write(target.path().join(folder).join("agentkernel-guest"), "x").unwrap();
        }
        let mut found = Vec::new();
        collect_guests(target.path(), GUEST_DEPTH_MAX, &mut found);
        found.sort();
        let expected = ["guest", "release/build/a/out/guest"]
            .map(|folder| target.path().join(folder).join("agentkernel-guest"));
        assert_eq!(found, expected);
    }
}
