//! Puts the unwinder into the program, so that no start has to load it.
//!
//! The standard library asks for `libgcc_s.so`, which is mapped, searched and initialised at each start, although only a
//! panic needs it: 0.12 ms of 1.25 measured (perf stat, `agentkernel --version`). The same code comes with every gcc as an
//! archive. A linker takes a text file in the place of a library for the names of others: that is what is left here for
//! it to find first.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Without it the program is the same, and a little later there.
    if let Some(archive) = archive()
        && let Err(error) = stand_in(&archive)
    {
        println!("cargo:warning=the unwinder stays a library of its own: {error}");
    }
}

/// The archive of this machine's gcc, if the program is for this machine and its C library.
fn archive() -> Option<PathBuf> {
    let is_ours = variable("HOST") == variable("TARGET") && variable("CARGO_CFG_TARGET_ENV")? == "gnu";
    if !is_ours {
        return None;
    }
    #[expect(clippy::disallowed_methods, reason = "a build script is where the compiler is asked")]
    let told = Command::new("cc").arg("-print-file-name=libgcc_eh.a").output().ok()?;
    // One that it does not have is told as it was asked for.
    let path = PathBuf::from(String::from_utf8(told.stdout).ok()?.trim());
    path.is_absolute().then_some(path)
}

fn stand_in(archive: &Path) -> io::Result<()> {
    let folder = variable("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    fs::write(Path::new(&folder).join("libgcc_s.so"), format!("GROUP ( \"{}\" )\n", archive.display()))?;
    println!("cargo:rustc-link-search=native={folder}");
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a build script is told by its environment")]
fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}
