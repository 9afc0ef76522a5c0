//! Puts the C library and the unwinder into the program, so that no start has to load them.
//!
//! A program that needs libraries is first given to a loader, which maps, searches, relocates and initialises each of them.
//! What it is for is here done by the linker, once: 0.6 ms of 4.3 less for a run by a daemon, of 2.5 for
//! `agentkernel --version` (the quickest of 60 each, in turn). Where an archive is missing, the program needs its library as
//! any other does, and is a little later there.
//!
//! A linker takes a text file in the place of a library for the names of others: that is what is left here for it to find
//! first.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The unwinder, for which the standard library asks by the name of a library that only exists to be shared.
const UNWINDER: (&str, &str) = ("gcc_s", "gcc_eh");

/// The C library, by all the names that are asked for.
const C: &[&str] = &["c", "dl", "m", "pthread", "rt", "util"];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let is_ours = variable("HOST") == variable("TARGET");
    if !is_ours || variable("CARGO_CFG_TARGET_ENV").as_deref() != Some("gnu") {
        return;
    }
    if let Err(error) = put_in() {
        println!("cargo:warning=the C library stays a library of its own: {error}");
    }
}

fn put_in() -> io::Result<()> {
    let folder = PathBuf::from(variable("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    let Some(unwinder) = archive(UNWINDER.1) else { return Ok(()) };
    stand_in(&folder, UNWINDER.0, &unwinder)?;
    // For the program alone: its tests are programs as others are.
    println!("cargo:rustc-link-arg-bins=-L{}", folder.display());
    let Some(archives) = C.iter().map(|name| archive(name)).collect::<Option<Vec<_>>>() else {
        return Ok(());
    };
    for (name, archive) in C.iter().zip(&archives) {
        stand_in(&folder, name, archive)?;
    }
    // At an address of its own choice as before, and by no loader.
    println!("cargo:rustc-link-arg-bins=-static-pie");
    if relocates_packed() {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    if variable("CARGO_CFG_TARGET_ARCH").as_deref() == Some("x86_64") {
        begin_at(&folder.join("entry.o"));
    }
    Ok(())
}

/// Has the program begin with what is told in `entry.S`. Without it, it begins as any other.
fn begin_at(object: &Path) {
    println!("cargo:rerun-if-changed=entry.S");
    let made = cc().args(["-c", "-o"]).arg(object).arg("entry.S").status();
    if made.is_ok_and(|status| status.success()) {
        println!("cargo:rustc-link-arg-bins={}", object.display());
        println!("cargo:rustc-link-arg-bins=-Wl,-e,agentkernel_entry");
    }
}

/// Whether the C library that is put in understands a packed list of what depends on the program's address (DT_RELR), as
/// glibc does from 2.36 on. It says the same in a hundredth of the bytes, which are read at each start.
fn relocates_packed() -> bool {
    let told = cc().args(["-E", "-dM", "-include", "features.h", "-x", "c", "/dev/null"]).output();
    let told = told.map(|told| String::from_utf8_lossy(&told.stdout).into_owned()).unwrap_or_default();
    let number = |name: &str| {
        let mut lines = told.lines().filter_map(|line| line.strip_prefix("#define ")?.strip_prefix(name));
        lines.find_map(|rest| rest.trim().parse::<u32>().ok())
    };
    number("__GLIBC__ ").zip(number("__GLIBC_MINOR__ ")) >= Some((2, 36))
}

#[expect(clippy::disallowed_methods, reason = "a build script is where the compiler is asked")]
fn cc() -> Command {
    Command::new("cc")
}

/// Where this machine's compiler has this archive, if it has it.
fn archive(name: &str) -> Option<PathBuf> {
    let told = cc().arg(format!("-print-file-name=lib{name}.a")).output().ok()?;
    // One that it does not have is told as it was asked for.
    let path = PathBuf::from(String::from_utf8(told.stdout).ok()?.trim());
    path.is_absolute().then_some(path)
}

fn stand_in(folder: &Path, name: &str, archive: &Path) -> io::Result<()> {
    fs::write(folder.join(format!("lib{name}.so")), format!("GROUP ( \"{}\" )\n", archive.display()))
}

#[expect(clippy::disallowed_methods, reason = "a build script is told by its environment")]
fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}
