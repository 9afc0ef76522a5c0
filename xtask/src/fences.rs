//! What the source of a crate may not say: rules that neither cargo nor clippy can check across crates.

use std::path::Path;

use crate::source;
use crate::violation::Violation;
use crate::workspace::{Crate, Workspace, WorkspaceError};

/// A door of the standard library, or of an async runtime's copy of it, that only some crates may use.
struct Fence {
    module: &'static str,
    items: &'static [&'static str],
    allowed: &'static [&'static str],
    rule: &'static str,
    way_out: &'static str,
}

const FENCES: &[Fence] = &[
    Fence {
        module: "process",
        items: &["Command"],
        // The guest and the attack probe start programs inside the sandbox, never on the host; testkit
        // starts the program under test; nested is for build scripts.
        allowed: &[
            "agentkernel-nested",
            "agentkernel-process",
            "agentkernel-guest",
            "agentkernel-attack-probe",
            "agentkernel-testkit",
            "xtask",
        ],
        rule: "agentkernel-process alone spawns host programs",
        way_out: "call agentkernel-process, which sets limits, closes descriptors and leaves nothing running",
    },
    Fence {
        module: "env",
        items: &["var", "var_os", "vars", "vars_os"],
        // Testkit reads which skips are failures; the probe looks for what leaked into its sandbox.
        allowed: &[
            "agentkernel",
            "agentkernel-bench",
            "agentkernel-nested",
            "agentkernel-testkit",
            "agentkernel-attack-probe",
            "xtask",
        ],
        rule: "programs alone read the environment; libraries are told",
        way_out: "take the value as an argument, and read it in the program",
    },
];

/// Crates whose root must say `#![forbid(unsafe_code)]`.
const WITHOUT_UNSAFE: &[&str] = &["agentkernel-protocol"];

const FORBID_UNSAFE: &str = "#![forbid(unsafe_code)]";

/// Every line of every crate that crosses a fence.
pub fn violations(workspace: &Workspace) -> Result<Vec<Violation>, WorkspaceError> {
    let mut found = Vec::new();
    for one in &workspace.crates {
        for path in Workspace::rust_files(&one.folder().join("src"))? {
            let text = Workspace::read(&path)?;
            let place = workspace.relative(&path);
            if is_root(one, &path) {
                found.extend(missing_forbid(&one.name, &place, &text));
            }
            if !source::is_test_file(Path::new(&place)) {
                found.extend(crossed(&one.name, &place, &text));
            }
        }
    }
    Ok(found)
}

fn is_root(one: &Crate, path: &Path) -> bool {
    path == one.folder().join("src/lib.rs")
}

fn missing_forbid(crate_name: &str, place: &str, text: &str) -> Option<Violation> {
    let must = WITHOUT_UNSAFE.contains(&crate_name);
    let says = source::code_lines(text).iter().any(|line| line.trim() == FORBID_UNSAFE);
    (must && !says).then(|| Violation {
        place: place.to_owned(),
        rule: format!("{crate_name} holds no unsafe code: it reads what a hostile guest sends"),
        way_out: format!("write {FORBID_UNSAFE} at the top of the file"),
    })
}

fn crossed(crate_name: &str, place: &str, text: &str) -> Vec<Violation> {
    let code = source::without_tests(source::code_lines(text)).join("\n");
    let mut found = Vec::new();
    for fence in FENCES.iter().filter(|fence| !fence.allowed.contains(&crate_name)) {
        for (at, item) in fence.crossings(&code) {
            let line = code[..at].matches('\n').count() + 1;
            found.push(fence.violation(&format!("{place}:{line}"), item));
        }
    }
    found
}

impl Fence {
    /// Where the code names one of the items, by its path or in a `use` with braces, and which.
    fn crossings(&self, code: &str) -> Vec<(usize, &'static str)> {
        let path = format!("{}::", self.module);
        let mut found = Vec::new();
        for (at, _) in code.match_indices(&path) {
            if is_the_standard_one(&code[..at]) {
                let names = named_after(&code[at + path.len()..]);
                found.extend(self.items.iter().filter(|item| names.contains(*item)).map(|item| (at, *item)));
            }
        }
        found
    }

    fn violation(&self, place: &str, item: &str) -> Violation {
        Violation {
            place: format!("{place}: {}::{item}", self.module),
            rule: self.rule.to_owned(),
            way_out: self.way_out.to_owned(),
        }
    }
}

/// Whether the module whose name follows `before` can be std's: not a longer name, not one of our own.
fn is_the_standard_one(before: &str) -> bool {
    let is_longer_name = before.ends_with(is_name_character);
    let is_ours = ["crate::", "super::", "self::"].into_iter().any(|own| before.ends_with(own));
    !is_longer_name && !is_ours
}

/// The names that a path ends in: one, or those between braces.
fn named_after(rest: &str) -> Vec<&str> {
    let names = match rest.strip_prefix('{') {
        Some(group) => group.split('}').next().unwrap_or_default(),
        None => rest.split(|c| !is_name_character(c)).next().unwrap_or_default(),
    };
    names.split(|c| !is_name_character(c)).collect()
}

fn is_name_character(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spawning_outside_the_process_crate_is_refused_with_its_line() {
        for code in [
            "tokio::process::Command::new(a);",
            "use std::process::Command;",
            "use std::process::{\n    Command, Stdio,\n};",
            "use std::{fs, process::{self, Command as Program}};",
        ] {
            let text = format!("fn a() {{}}\n{code}\n");
            let found = crossed("agentkernel-oci", "crates/oci/src/a.rs", &text);
            assert_eq!(found.len(), 1, "{code}");
            assert_eq!(found[0].place, "crates/oci/src/a.rs:2: process::Command");
            assert_eq!(crossed("agentkernel-process", "crates/process/src/a.rs", &text), []);
        }
    }

    #[test]
    fn comments_strings_tests_and_other_commands_are_free() {
        let text = "// std::process::Command\nconst A: &str = \"process::Command\";\nuse agentkernel_core::Command;\n\
                    use crate::process::Command;\nuse agentkernel_process::{Command, Limits};\n\
                    use std::os::unix::process::CommandExt;\nuse std::process::ExitCode;\n\
                    #[cfg(test)]\nmod tests {\n    use std::process::Command;\n}\n";
        assert_eq!(crossed("agentkernel-oci", "a.rs", text), []);
    }

    #[test]
    fn libraries_do_not_read_the_environment_and_the_program_does() {
        for call in ["std::env::var(A)", "env::var_os(A)", "env::vars()", "use std::env::{self, vars_os}"] {
            let text = format!("fn a() {{\n    {call};\n}}\n");
            assert_eq!(crossed("agentkernel-runtime", "a.rs", &text).len(), 1, "{call}");
            assert_eq!(crossed("agentkernel", "a.rs", &text), [], "{call}");
        }
        let compile_time = "const A: &str = env!(\"A\");\nfn a() { std::env::current_dir(); }\n";
        assert_eq!(crossed("agentkernel-runtime", "a.rs", compile_time), []);
    }

    #[test]
    fn the_protocol_must_forbid_unsafe_code_in_code_and_not_in_a_comment() {
        let name = "agentkernel-protocol";
        assert!(missing_forbid(name, "lib.rs", "//! Doc.\n#![forbid(unsafe_code)]\n").is_none());
        assert!(missing_forbid(name, "lib.rs", "// #![forbid(unsafe_code)]\n").is_some());
        assert!(missing_forbid("agentkernel-oci", "lib.rs", "").is_none());
    }
}
