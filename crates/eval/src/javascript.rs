//! QuickJS-ng as a module: its sources out of a crate, our `main`, the host's clang, and a snapshot.

use std::fs;
use std::path::{Path, PathBuf};

use agentkernel_core::{Error, ErrorKind, Result};

use crate::frames::framed;
use crate::language::Language;
use crate::snapshot::snapshot;
use crate::store::{Interpreter, sha256};
use crate::tools::{Tools, WHAT, failed};

const CRATE: &str = "rquickjs-sys";
const VERSION: &str = "0.14.0";
/// Where the C sources are in it.
const SOURCES: &str = "quickjs";

/// The project that has it as its dependency, and the digests of all that is downloaded for it.
const MANIFEST: &str = include_str!("../js/Cargo.toml");
const LOCK: &str = include_str!("../js/Cargo.lock");

const MAIN: &str = include_str!("../js/main.c");
const FRAME: &str = include_str!("../js/frame.h");
const PRELUDE: &str = include_str!("../js/prelude.js");

/// What is exported to be run before the snapshot is taken.
const INITIALISER: &str = "initialise";

/// Of clang, for every file: no signals, no threads, nothing of the host's own headers.
const COMPILE: &[&str] = &[
    "--target=wasm32-wasi",
    "-O2",
    "-std=gnu11",
    "-D_GNU_SOURCE",
    "-DNDEBUG",
    "-Wno-everything",
    "-fvisibility=hidden",
    "-ffunction-sections",
    "-fdata-sections",
];
/// Of the linker: the stack lies below all data, so that what is above is what a snapshot is taken of.
const LINK: &[&str] = &[
    "--target=wasm32-wasi",
    "-O2",
    "-lm",
    "-Wl,--stack-first",
    "-Wl,-z,stack-size=4194304",
    "-Wl,--gc-sections",
    "-Wl,--strip-all",
];

const PACKAGES: &str =
    "apt-get install clang lld wasi-libc libclang-rt-14-dev-wasm32 (14 is clang's version)";

/// Digest of all that it is made of but the compiler.
pub(crate) fn recipe() -> String {
    let words = [COMPILE, LINK].concat().join(" ");
    sha256([LOCK, MAIN, FRAME, PRELUDE, &words].concat().as_bytes())
}

/// Makes it in this folder.
pub(crate) fn make(
    folder: &Path,
    tools: &Tools<'_>,
    say: &mut dyn FnMut(&str),
) -> Result<(Interpreter, Vec<u8>)> {
    let clang = tools.need("clang", "it compiles QuickJS-ng", PACKAGES)?;
    tools.need("wasm-ld", "it links QuickJS-ng", PACKAGES)?;
    say(&format!("downloading {CRATE} {VERSION} by cargo"));
    let sources = fetch(folder, tools)?;
    say("compiling QuickJS-ng, about a minute");
    let module = compile(&clang, &sources, folder, tools)?;
    say("taking a snapshot of it");
    let wasm = fs::read(&module).map_err(|why| failed(why).on(module.display()))?;
    let wasm = snapshot(&wasm, INITIALISER)
        .map_err(|why| Error::new(ErrorKind::Internal, WHAT, why).on("the snapshot of QuickJS-ng"))?;
    let about = Interpreter {
        language: Language::Js.to_string(),
        package: format!("{CRATE} {VERSION}"),
        version: "QuickJS-ng".into(),
        licence: "MIT".into(),
        recipe: recipe(),
        sha256: sha256(&wasm),
    };
    Ok((about, wasm))
}

/// Downloads the crate and unpacks it, without building anything: where its C sources are.
fn fetch(folder: &Path, tools: &Tools<'_>) -> Result<PathBuf> {
    let cargo =
        tools.need("cargo", "it downloads QuickJS-ng", "https://rustup.rs, or apt-get install cargo")?;
    let (project, crates) = (folder.join("project"), folder.join("crates"));
    write(&project, &[("Cargo.toml", MANIFEST), ("Cargo.lock", LOCK), ("lib.rs", "")])?;
    let (manifest, to) = (project.join("Cargo.toml").display().to_string(), crates.display().to_string());
    let words = ["vendor", "--locked", "--quiet", "--versioned-dirs", "--manifest-path", &manifest, &to];
    tools.run(&cargo, &words).map_err(|why| {
        why.hint("cargo must reach crates.io, or a mirror of it, or have the crate already")
    })?;
    Ok(crates.join(format!("{CRATE}-{VERSION}")).join(SOURCES))
}

/// Compiles and links it: where the module is.
fn compile(clang: &Path, sources: &Path, folder: &Path, tools: &Tools<'_>) -> Result<PathBuf> {
    let work = folder.join("work");
    let prelude = format!("static const char prelude[] =\n{};\n", c_string(PRELUDE));
    write(&work, &[("main.c", MAIN), ("frame.h", FRAME), ("prelude.h", &prelude)])?;
    for name in ["quickjs", "libregexp"] {
        write_framed(&sources.join(format!("{name}.c")), &work.join(format!("{name}_framed.c")))?;
    }
    let text = |path: PathBuf| path.display().to_string();
    let (of_sources, of_work) = (format!("-I{}", sources.display()), format!("-I{}", work.display()));
    let files = [
        work.join("main.c"),
        work.join("libregexp_framed.c"),
        sources.join("libunicode.c"),
        sources.join("dtoa.c"),
    ];
    let mut objects = Vec::new();
    for file in files {
        let object = text(work.join(file.file_name().unwrap_or_default()).with_extension("o"));
        let file = text(file);
        let words = [&of_sources, &of_work, "-include", "frame.h", "-c", &file, "-o", &object];
        run(clang, &[COMPILE, &words].concat(), tools)?;
        objects.push(object);
    }
    let module = work.join("main.wasm");
    let to = text(module.clone());
    let objects: Vec<&str> = objects.iter().map(String::as_str).collect();
    run(clang, &[&objects, LINK, &["-o", &to]].concat(), tools)?;
    Ok(module)
}

fn run(clang: &Path, words: &[&str], tools: &Tools<'_>) -> Result<()> {
    tools.run(clang, words).map_err(|why| why.hint(PACKAGES))
}

fn write_framed(from: &Path, to: &Path) -> Result<()> {
    let source = fs::read_to_string(from).map_err(|why| failed(why).on(from.display()))?;
    let (framed, count) = framed(&source);
    if count == 0 {
        return Err(failed("no function of it is known here").on(from.display()));
    }
    fs::write(to, framed).map_err(|why| failed(why).on(to.display()))
}

fn write(folder: &Path, files: &[(&str, &str)]) -> Result<()> {
    let put = |folder: &Path| {
        fs::create_dir_all(folder)?;
        files.iter().try_for_each(|(name, content)| fs::write(folder.join(name), content))
    };
    put(folder).map_err(|why| failed(why).on(folder.display()))
}

/// The text as a literal of C, line by line.
fn c_string(text: &str) -> String {
    let escaped = |line: &str| line.replace('\\', "\\\\").replace('"', "\\\"");
    text.lines().map(|line| format!("  \"{}\\n\"\n", escaped(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_has_the_version_that_is_looked_for_with_its_checksum() {
        assert!(MANIFEST.contains(&format!("{CRATE} = {{ version = \"={VERSION}\"")));
        let entry = LOCK.split("[[package]]").find(|entry| entry.contains(CRATE) && entry.contains(VERSION));
        assert!(entry.is_some_and(|entry| entry.contains("checksum = ")), "{LOCK}");
    }

    #[test]
    fn a_text_becomes_a_literal_of_c() {
        assert_eq!(c_string("a \"b\\n\"\n\tc\n"), "  \"a \\\"b\\\\n\\\"\\n\"\n  \"\tc\\n\"\n");
    }

    #[test]
    fn a_program_that_is_missing_is_named_with_its_package() {
        let tools = Tools { search_path: &[], variables: &[] };
        let why = make(Path::new("/nowhere"), &tools, &mut |_| ()).expect_err("no clang");
        assert_eq!(why.to_string(), "set up eval: clang: it is not on PATH, and it compiles QuickJS-ng");
        assert!(why.hint.is_some_and(|hint| hint.contains("wasi-libc")));
    }
}
