//! Builds the guest agent and leaves it where `src/guest.rs` embeds it: host and guest are always of
//! one build, and nothing has to be installed beside the program.

use std::env::{self, VarError};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use sha2::{Digest, Sha256};

/// What the guest is made of, relative to the workspace.
const SOURCES: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "crates/guest/Cargo.toml",
    "crates/guest/src",
    "crates/protocol/Cargo.toml",
    "crates/protocol/src",
];

/// Variables that cargo sets for a build script, or a user for the outer build, and that would make
/// the guest another program than the one that its build number names.
const DISTURBING: &[&str] = &[
    "RUSTFLAGS",
    "RUSTDOCFLAGS",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "CLIPPY_ARGS",
    "CLIPPY_CONF_DIR",
];

/// Where cargo keeps and fetches packages, how it cross-links, and whose turn it is to compile.
fn is_needed(name: &str) -> bool {
    let fetching = ["CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR", "CARGO_SOURCE_"];
    matches!(name, "CARGO_HOME" | "CARGO_MAKEFLAGS")
        || fetching.iter().any(|prefix| name.starts_with(prefix))
        || (name.starts_with("CARGO_TARGET_") && name.ends_with("_LINKER"))
}

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("the guest agent could not be built: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let target = variable("TARGET")?;
    if variable("CARGO_CFG_TARGET_OS")? != "linux" {
        return Err(format!("it runs on Linux, and the target is {target}"));
    }
    let out = PathBuf::from(variable("OUT_DIR")?);
    let workspace = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("../..");
    let workspace = workspace.canonicalize().map_err(|error| format!("{}: {error}", workspace.display()))?;
    for source in SOURCES {
        println!("cargo:rerun-if-changed={}", workspace.join(source).display());
    }
    let id = build_id(&workspace).map_err(|error| format!("reading its sources: {error}"))?;
    println!("cargo:rustc-env=AGENTKERNEL_GUEST_BUILD={id}");

    run(&mut cargo(&workspace, &out, &target, &id)?)?;
    let built = out.join("guest").join(&target).join("guest/agentkernel-guest");
    fs::copy(&built, out.join("agentkernel-guest"))
        .map_err(|error| format!("{}: {error}", built.display()))?;
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a build script is told by its environment")]
fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error: VarError| format!("{name}: {error}"))
}

/// The nested build. It has a target folder of its own, because the outer cargo holds the lock of the
/// other one.
#[expect(clippy::disallowed_methods, reason = "a build script is where a nested build has to be started")]
fn cargo(workspace: &Path, out: &Path, target: &str, id: &str) -> Result<Command, String> {
    let mut cargo = Command::new(variable("CARGO")?);
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if DISTURBING.contains(&name.as_str()) || (name.starts_with("CARGO_") && !is_needed(&name)) {
            cargo.env_remove(name);
        }
    }
    cargo.current_dir(workspace).arg("build").args(["-p", "agentkernel-guest", "--profile", "guest"]);
    cargo.args(["--target", target, "--target-dir"]).arg(out.join("guest"));
    if workspace.join("Cargo.lock").exists() {
        cargo.arg("--locked");
    }
    cargo.env("AGENTKERNEL_GUEST_BUILD", id).env("CARGO_ENCODED_RUSTFLAGS", rustflags(workspace, out)?);
    Ok(cargo)
}

/// A static program, in which no path of the machine that built it is written.
fn rustflags(workspace: &Path, out: &Path) -> Result<String, String> {
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
    let mut remap =
        |from: &Path, to: &str| flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    let home = variable("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|_| variable("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    if let Ok(home) = home {
        remap(&home, "/cargo");
    }
    remap(workspace, "/agentkernel");
    remap(out, "/out"); // the last that matches counts, and this may lie in the workspace
    Ok(flags.join("\x1f"))
}

fn run(cargo: &mut Command) -> Result<(), String> {
    let status = cargo.status().map_err(|error| format!("cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("cargo build: {status}")) }
}

/// Sixteen hexadecimal digits over everything that the guest is made of.
fn build_id(workspace: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    for source in SOURCES {
        hash_tree(workspace, Path::new(source), &mut hash)?;
    }
    Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// Adds one file, or a folder with all that is in it; what does not exist adds nothing.
fn hash_tree(workspace: &Path, relative: &Path, hash: &mut Sha256) -> io::Result<()> {
    let path = workspace.join(relative);
    if path.is_dir() {
        let entries = fs::read_dir(path)?.map(|entry| entry.map(|entry| relative.join(entry.file_name())));
        let mut entries = entries.collect::<io::Result<Vec<_>>>()?;
        entries.sort();
        return entries.iter().try_for_each(|entry| hash_tree(workspace, entry, hash));
    }
    if path.exists() {
        let content = fs::read(path)?;
        // With their lengths: no two sets of files are the same sequence of bytes.
        for part in [relative.as_os_str().as_encoded_bytes(), content.as_slice()] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    Ok(())
}
