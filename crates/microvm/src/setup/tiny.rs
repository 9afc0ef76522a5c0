//! A kernel that has what machines need and nothing else, compiled here of Debian's source.

use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use agentkernel_core::{Error, ErrorKind, Result};
use agentkernel_process::locate;

use super::{DOWNLOAD_DEADLINE, Tools, WHAT, entries, file_name, in_folder, keep, run};
use crate::folder::{PrivateFolder, gone, make_private};
use crate::kernel::{Kernel, check_image};

/// Linux 6.1 is a long-term release, and the one whose options are written down beside this.
const PACKAGE: &str = "linux-source-6.1";

/// What the kernel has.
const OPTIONS: &str = include_str!("tiny.config");

/// What the kernel's own build and `tar` run, and what of Debian's has all that is needed.
const OTHERS: [&str; 6] = ["gcc", "ld", "flex", "bison", "bc", "xz"];
const HEADER: &str = "/usr/include/libelf.h";
const PACKAGES: &str = "as root: apt-get install make gcc flex bison bc libelf-dev xz-utils";

/// Files that are compiled: 1,177 of 6.1.192 with these options.
const FILES: usize = 1200;

/// How often it is told how many have been.
const TELL_EACH: usize = 100;

/// How long nothing may happen: the longest step is the last, which links all.
const SILENCE_MAX: Duration = Duration::from_secs(600);

/// Lines of a failed build that are shown.
const LAST_LINES: usize = 12;

/// Compiles it. `say` is told what is being done. What an attempt that was broken off has done is not done again.
pub fn tiny(home: &Path, search_path: &[PathBuf], say: &mut dyn FnMut(&str)) -> Result<Kernel> {
    let tools = Tools::find(search_path)?;
    let find = |name: &str| locate(name, search_path).ok_or_else(|| missing(name));
    let (make, tar) = (find("make")?, find("tar")?);
    OTHERS.iter().try_for_each(|name| find(name).map(drop))?;
    if !Path::new(HEADER).exists() {
        return Err(missing(HEADER));
    }
    let host = |why: io::Error| Error::new(ErrorKind::Host, WHAT, why).on(home.display());
    let _turn = PrivateFolder::make(&home.join("download"), "tiny").map_err(|why| match why.kind() {
        io::ErrorKind::AlreadyExists => super::at_work(home),
        _ => host(why),
    })?;
    let folder = home.join("build");
    make_private(&folder).map_err(host)?;
    let version = source(&tools, &tar, &folder, say)?;
    let tree = folder.join(PACKAGE);
    say("configuring it");
    configure(&make, &tree)?;
    say("compiling it, which takes some minutes");
    compile(&make, &tree, say)?;
    let image = fs::read(tree.join("vmlinux")).map_err(host)?;
    check_image(&image).map_err(failed)?;
    let kernel = keep(home, &format!("{version}, tiny"), &image, &[])?;
    // Some 1.5 GB that nobody needs any more.
    fs::remove_dir_all(&folder).map_err(host)?;
    Ok(kernel)
}

/// Downloads and unpacks the source, unless that was done before. Returns its version.
fn source(tools: &Tools, tar: &Path, folder: &Path, say: &mut dyn FnMut(&str)) -> Result<String> {
    let package = || entries(folder).find(|path| path.extension().is_some_and(|kind| kind == "deb"));
    let file = match package() {
        Some(file) => file,
        None => {
            say(&format!("downloading {PACKAGE}, some 140 MB"));
            tools.download(PACKAGE, folder)?
        }
    };
    let version = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let (tree, new) = (folder.join(PACKAGE), folder.join("new"));
    if !tree.exists() {
        say("unpacking it");
        let host = |why: io::Error| Error::new(ErrorKind::Host, WHAT, why).on(folder.display());
        fs::remove_dir_all(&new).or_else(|why| gone(&why)).map_err(host)?;
        tools.unpack(&file, &new)?;
        let archive = entries(&new.join("usr/src")).find(|path| file_name(path).ends_with(".tar.xz"));
        let archive = archive.ok_or_else(|| failed("the package holds no source"))?;
        let words = ["-xf", &archive.display().to_string()];
        run(&new, tar, &words, DOWNLOAD_DEADLINE)?;
        fs::rename(new.join(PACKAGE), &tree).and_then(|()| fs::remove_dir_all(&new)).map_err(host)?;
    }
    Ok(version)
}

/// Makes `.config` of the options, and looks whether each of them holds: one that is misspelt, or needs another, is silently left out.
fn configure(make: &Path, tree: &Path) -> Result<()> {
    let wanted = tree.join("agentkernel.config");
    fs::write(&wanted, OPTIONS).map_err(failed)?;
    let all = format!("KCONFIG_ALLCONFIG={}", wanted.display());
    run(tree, make, &["-s", "allnoconfig", &all], SILENCE_MAX)?;
    let made = fs::read_to_string(tree.join(".config")).map_err(failed)?;
    let unmet = unmet(OPTIONS, &made);
    if unmet.is_empty() {
        return Ok(());
    }
    Err(failed(format!("this source does not have {}", unmet.join(", "))))
}

/// The wanted lines that do not hold.
fn unmet<'a>(wanted: &'a str, made: &str) -> Vec<&'a str> {
    let holds = |line: &&str| match line.strip_suffix("=n") {
        Some(option) => {
            !made.lines().any(|made| made.split_once('=').is_some_and(|(name, _)| name == option))
        }
        None => made.lines().any(|made| made == *line),
    };
    wanted.lines().filter(|line| line.starts_with("CONFIG_") && !holds(line)).collect()
}

/// Runs the kernel's build, and counts what it has compiled.
fn compile(make: &Path, tree: &Path, say: &mut dyn FnMut(&str)) -> Result<()> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let words = [&format!("-j{jobs}"), "vmlinux"];
    let mut build = in_folder(tree, make, &words)?.spawn_attended(&[]).map_err(failed)?;
    drop(build.stdin.take());
    let (said, heard) = mpsc::channel();
    let streams: [Option<Box<dyn io::Read + Send>>; 2] = [
        build.stdout.take().map(|out| Box::new(out) as _),
        build.stderr.take().map(|err| Box::new(err) as _),
    ];
    for stream in streams.into_iter().flatten() {
        let said = said.clone();
        std::thread::spawn(move || {
            // Nobody listens any more once it was given up.
            BufReader::new(stream).lines().map_while(io::Result::ok).try_for_each(|line| said.send(line))
        });
    }
    drop(said);
    let (mut compiled, mut last) = (0, Vec::new());
    loop {
        match heard.recv_timeout(SILENCE_MAX) {
            Ok(line) => {
                compiled +=
                    usize::from(line.trim_start().starts_with("CC ") || line.trim_start().starts_with("AS "));
                if compiled % TELL_EACH == 0 && line.trim_start().starts_with("CC ") {
                    say(&format!("compiling it: {compiled} of some {FILES} files"));
                }
                last.push(line);
                last.drain(..last.len().saturating_sub(LAST_LINES));
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                return Err(failed(format!("its build has said nothing for {} s", SILENCE_MAX.as_secs())));
            }
        }
    }
    let status = build.wait().map_err(failed)?;
    if status.success() { Ok(()) } else { Err(failed(format!("its build: {status}:\n{}", last.join("\n")))) }
}

fn missing(what: &str) -> Error {
    let why = "the kernel is compiled here, and it is missing";
    Error::new(ErrorKind::Unavailable, WHAT, why).on(what).hint(PACKAGES)
}

fn failed(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Host, WHAT, why).on(PACKAGE).hint("leave --tiny out for Debian's own kernel")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_a_line_of_its_own_and_is_named_once() {
        let options: Vec<_> =
            OPTIONS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        let mut names = std::collections::BTreeSet::new();
        for option in &options {
            let (name, value) = option.split_once('=').expect("a name and a value");
            assert!(name.starts_with("CONFIG_") && !value.is_empty(), "{option}");
            assert!(names.insert(name), "{name} a second time");
        }
        for needed in [
            "CONFIG_VIRTIO_BLK=y",
            "CONFIG_PVH=y",
            "CONFIG_SECCOMP_FILTER=y",
            "CONFIG_PAGE_TABLE_ISOLATION=y",
        ] {
            assert!(options.contains(&needed), "{needed}");
        }
    }

    #[test]
    fn an_option_that_was_left_out_is_found() {
        let made = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=y\nCONFIG_NAME=\"x\"\nCONFIG_A_LONGER=y\n";
        assert_eq!(
            unmet("CONFIG_A=y\nCONFIG_B=n\nCONFIG_NAME=\"x\"\n# a word\nCONFIG_D=n", made),
            Vec::<&str>::new()
        );
        assert_eq!(unmet("CONFIG_B=y\nCONFIG_C=n\nCONFIG_D=y\nCONFIG_NAME=\"y\"", made).len(), 4);
    }

    #[test]
    fn what_is_missing_is_named_with_the_packages_that_have_it() {
        let (home, tools) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        for name in ["apt-cache", "apt-get", "dpkg"] {
            std::os::unix::fs::symlink("/bin/true", tools.path().join(name)).expect("linked");
        }
        let error = tiny(home.path(), &[tools.path().to_owned()], &mut |_| {}).expect_err("no make");
        assert!(error.to_string().contains("make") && error.kind == ErrorKind::Unavailable, "{error}");
        assert!(error.hint.expect("a hint").contains("flex bison bc libelf-dev"));
        assert_eq!(fs::read_dir(home.path()).expect("listed").count(), 0, "nothing was begun");
    }
}
