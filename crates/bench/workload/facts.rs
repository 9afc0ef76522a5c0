//! What the program inside sees of its own confinement, as one line of JSON: claims, to be judged outside.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::amounts::OPEN_FOLDER;
use crate::sys;

/// All of them.
pub fn line() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.map_or("null".to_owned(), |value| {
            quoted(&value.split_whitespace().collect::<Vec<_>>().join(" "))
        })
    };
    let file = |path: &str| fs::read_to_string(path).map_or("null".to_owned(), |text| quoted(text.trim()));
    let pairs = [
        ("kernel", file("/proc/version")),
        ("release", file("/proc/sys/kernel/osrelease")),
        ("uid", field("Uid")),
        ("gid", field("Gid")),
        ("cap_inheritable", field("CapInh")),
        ("cap_permitted", field("CapPrm")),
        ("cap_effective", field("CapEff")),
        ("cap_bounding", field("CapBnd")),
        ("cap_ambient", field("CapAmb")),
        ("seccomp", field("Seccomp")),
        ("no_new_privs", sys::no_new_privs().to_string()),
        ("interfaces", interfaces()),
        ("network", network()),
        ("root_write", write_to_root()),
    ];
    let words: Vec<String> = pairs.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", words.join(","))
}

/// The network namespace, which has the same number wherever it is seen by the same kernel.
fn network() -> String {
    fs::read_link("/proc/self/ns/net").map_or("null".into(), |link| quoted(&link.to_string_lossy()))
}

/// Names of the network interfaces, by /proc/net/dev.
fn interfaces() -> String {
    let Ok(text) = fs::read_to_string("/proc/net/dev") else { return "null".into() };
    let names = text.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| quoted(name.trim()));
    format!("[{}]", names.collect::<Vec<_>>().join(","))
}

/// What becomes of an attempt to write where the root file system is read-only.
fn write_to_root() -> String {
    // Where there is no folder that everybody may write to, the root folder shows it as well: that a file system is
    // read-only is said before whose a folder is.
    let folder = if Path::new(OPEN_FOLDER).exists() { OPEN_FOLDER } else { "" };
    quoted(match fs::write(format!("{folder}/was-here"), "x") {
        Ok(()) => "written",
        Err(why) if why.kind() == ErrorKind::ReadOnlyFilesystem => "read-only",
        Err(why) if why.kind() == ErrorKind::PermissionDenied => "not permitted",
        Err(_) => "failed otherwise",
    })
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            other if other.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(other))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
