//! Builds a static program of this workspace from a build script, to be embedded in another: both are always of one build,
//! and nothing has to be installed beside the program.

use std::env::{self, VarError};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use sha2::{Digest, Sha256};

/// A program of the workspace.
#[derive(Debug)]
pub struct Nested {
    /// Its package, and the name of its binary.
    pub package: &'static str,
    /// The profile that it is built with.
    pub profile: &'static str,
    /// What it is made of, relative to the workspace, besides its manifest and lock file.
    pub sources: &'static [&'static str],
    /// The variable that gets its build number, for the outer build and its own.
    pub id: &'static str,
}

/// What every program is made of.
const SOURCES: &[&str] = &["Cargo.toml", "Cargo.lock"];

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

impl Nested {
    /// Builds it and leaves it in `OUT_DIR`, under the name of its package, and its digest beside it.
    pub fn build(&self) -> Result<(), String> {
        let target = variable("TARGET")?;
        if variable("CARGO_CFG_TARGET_OS")? != "linux" {
            return Err(format!("it runs on Linux, and the target is {target}"));
        }
        let out = PathBuf::from(variable("OUT_DIR")?);
        let workspace = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("../..");
        let workspace =
            workspace.canonicalize().map_err(|error| format!("{}: {error}", workspace.display()))?;
        for source in SOURCES.iter().chain(self.sources) {
            println!("cargo:rerun-if-changed={}", workspace.join(source).display());
        }
        let id = self.build_id(&workspace).map_err(|error| format!("reading its sources: {error}"))?;
        println!("cargo:rustc-env={}={id}", self.id);
        run(&mut self.cargo(&workspace, &out, &target, &id)?)?;
        let built = out.join("nested").join(&target).join(self.profile).join(self.package);
        let program = fs::read(&built).map_err(|error| format!("{}: {error}", built.display()))?;
        let left = fs::write(out.join(self.package), &program)
            .and_then(|()| fs::write(out.join(format!("{}.sha256", self.package)), Sha256::digest(&program)));
        left.map_err(|error| format!("{}: {error}", out.display()))
    }

    /// The nested build. It has a target folder of its own, because the outer cargo holds the lock of the
    /// other one.
    #[expect(clippy::disallowed_methods, reason = "a build script is where a nested build has to be started")]
    fn cargo(&self, workspace: &Path, out: &Path, target: &str, id: &str) -> Result<Command, String> {
        let mut cargo = Command::new(variable("CARGO")?);
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if DISTURBING.contains(&name.as_str()) || (name.starts_with("CARGO_") && !is_needed(&name)) {
                cargo.env_remove(name);
            }
        }
        cargo.current_dir(workspace).arg("build").args(["-p", self.package, "--profile", self.profile]);
        cargo.args(["--target", target, "--target-dir"]).arg(out.join("nested"));
        if workspace.join("Cargo.lock").exists() {
            cargo.arg("--locked");
        }
        cargo.env(self.id, id).env("CARGO_ENCODED_RUSTFLAGS", rustflags(workspace, out)?);
        Ok(cargo)
    }

    /// Sixteen hexadecimal digits over everything that the guest is made of.
    fn build_id(&self, workspace: &Path) -> io::Result<String> {
        let mut hash = Sha256::new();
        for source in SOURCES.iter().chain(self.sources) {
            hash_tree(workspace, Path::new(source), &mut hash)?;
        }
        Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
    }
}

#[expect(clippy::disallowed_methods, reason = "a build script is told by its environment")]
fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error: VarError| format!("{name}: {error}"))
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

/// What a build script does: builds it, or says why it could not.
#[must_use]
pub fn main(program: &Nested) -> ExitCode {
    match program.build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{} could not be built: {reason}", program.package);
            ExitCode::FAILURE
        }
    }
}
