//! A module, read, compiled and linked: what all its instances share.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use agentkernel_core::{Error, ErrorKind, FileVersion, ModuleFile, Result};
use wasmtime::{
    ExternType, Func, FuncType, Instance, InstancePre, Linker, Module, ModuleExport, Store,
    UnknownImportError,
};

use crate::guest::Guest;
use crate::machine::Machine;

/// Largest module that is taken, bytes: an interpreter with its library has some 30 MiB.
const MODULE_BYTES_MAX: u64 = 128 << 20;

const WHAT: &str = "load the module";

/// A module that can be made instances of.
pub(crate) struct Program {
    pub(crate) module: Module,
    pub(crate) instances: InstancePre<Guest>,
    /// What can be called, by name, once somebody calls something: to ask an instance for it by name, and the engine for its
    /// type, takes a third as long as a whole call.
    functions: OnceLock<HashMap<String, Function>>,
}

/// A function that a module exports.
pub(crate) struct Function {
    place: ModuleExport,
    /// What it takes and returns.
    pub(crate) kind: FuncType,
}

impl Function {
    /// That of an instance of its module.
    pub(crate) fn of(&self, instance: &Instance, store: &mut Store<Guest>) -> Option<Func> {
        instance.get_module_export(store, &self.place)?.into_func()
    }
}

/// The module in this file, as it is now. The file is looked at and not read.
pub fn module_file(path: &Path) -> Result<ModuleFile> {
    let (_, facts) = open(path)?;
    ModuleFile::new(path, version(&facts)).map_err(|why| Error::new(ErrorKind::Usage, WHAT, why))
}

/// Whether the file at this path says of itself that it is Wasm.
#[must_use]
pub fn is_module(path: &Path) -> bool {
    let mut magic = [0; 4];
    open(path).is_ok_and(|(mut file, _)| file.read_exact(&mut magic).is_ok() && magic == *b"\0asm")
}

impl Program {
    /// Reads, compiles and links a module, or takes it as it was done before. Takes the processor for as long as it lasts.
    pub(crate) fn load(machine: &Machine, file: &ModuleFile) -> Result<Arc<Self>> {
        if let Some(program) = machine.known(file) {
            return Ok(program);
        }
        let program = Arc::new(Self::of(machine, &read(file)?).map_err(|why| why.on(file.path().display()))?);
        machine.keep(file, &program);
        Ok(program)
    }

    /// Compiles and links a module.
    pub(crate) fn of(machine: &Machine, wasm: &[u8]) -> Result<Self> {
        let module = compiled(wasm, || machine.cache.module(&machine.engine, wasm))?;
        let instances = linked(&machine.linker, &module)?;
        Ok(Self { module, instances, functions: OnceLock::new() })
    }

    /// The function of this name.
    pub(crate) fn function(&self, name: &str) -> Option<&Function> {
        let placed = |name: &str, kind: ExternType| match kind {
            ExternType::Func(kind) => Some(Function { place: self.module.get_export_index(name)?, kind }),
            _ => None,
        };
        let all = || {
            let exports = self.module.exports();
            exports.filter_map(|one| Some((one.name().to_owned(), placed(one.name(), one.ty())?))).collect()
        };
        self.functions.get_or_init(all).get(name)
    }

    /// The functions that it exports, as they are called.
    pub(crate) fn functions(&self) -> Vec<&str> {
        let is_function = |kind: &ExternType| matches!(kind, ExternType::Func(_));
        self.module.exports().filter(|one| is_function(&one.ty())).map(|one| one.name()).collect()
    }
}

/// What `compile` makes of these bytes, if they are a module.
pub(crate) fn compiled<T>(wasm: &[u8], compile: impl FnOnce() -> wasmtime::Result<T>) -> Result<T> {
    refuse_what_is_no_module(wasm)?;
    compile().map_err(|why| refused(&format!("it is not valid: {}", why.root_cause())))
}

/// What instances of it are made of, if it imports nothing but what it may.
pub(crate) fn linked<T: 'static>(linker: &Linker<T>, module: &Module) -> Result<InstancePre<T>> {
    refuse_other_wasi(module)?;
    linker.instantiate_pre(module).map_err(|why| unlinked(&why))
}

fn open(path: &Path) -> Result<(File, Metadata)> {
    let failed = |why: std::io::Error| {
        let kind = match why.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::CommandNotFound,
            _ => ErrorKind::CommandNotExecutable,
        };
        Error::new(kind, WHAT, why).on(path.display())
    };
    // A pipe in its place must not make anybody wait.
    let no_wait = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = File::options().read(true).custom_flags(no_wait).open(path).map_err(failed)?;
    let facts = file.metadata().map_err(failed)?;
    if !facts.is_file() {
        return Err(refused("it is not a file").on(path.display()));
    }
    if facts.len() > MODULE_BYTES_MAX {
        let why = format!("it has {} bytes, and a module may have {MODULE_BYTES_MAX}", facts.len());
        return Err(refused(&why).on(path.display()));
    }
    Ok((file, facts))
}

fn version(facts: &Metadata) -> FileVersion {
    let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
    FileVersion {
        device: facts.dev(),
        inode: facts.ino(),
        size: facts.len(),
        modified_ns: ns(facts.mtime(), facts.mtime_nsec()),
        changed_ns: ns(facts.ctime(), facts.ctime_nsec()),
    }
}

/// The bytes of a file that is still what it was.
pub(crate) fn read(module: &ModuleFile) -> Result<Vec<u8>> {
    let path = module.path();
    let (file, before) = open(path)?;
    let mut wasm = Vec::with_capacity(usize::try_from(before.len()).unwrap_or(0));
    let failed = |why: std::io::Error| refused(&why.to_string()).on(path.display());
    (&file).take(MODULE_BYTES_MAX + 1).read_to_end(&mut wasm).map_err(failed)?;
    let after = file.metadata().map_err(failed)?;
    if version(&before) != module.version() || version(&after) != module.version() {
        return Err(refused("it has changed since it was asked for").on(path.display()).hint("ask again"));
    }
    Ok(wasm)
}

fn refused(why: &str) -> Error {
    Error::new(ErrorKind::CommandNotExecutable, WHAT, why)
}

fn refuse_what_is_no_module(wasm: &[u8]) -> Result<()> {
    let is_text = std::str::from_utf8(wasm).is_ok_and(|text| text.trim_start().starts_with(['(', ';']));
    match wasm {
        _ if is_text => Ok(()),
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => Ok(()),
        [b'\0', b'a', b's', b'm', _, 0, 1, 0, ..] => Err(refused(
            "it is a component (WASI 0.2 or later), and only modules of WASI preview 1 are run here",
        )
        .hint("build it for wasm32-wasip1")),
        [b'\0', b'a', b's', b'm', ..] => {
            Err(refused("it is Wasm of a version that is not known, or cut off"))
        }
        _ => Err(refused("it is not a Wasm module")),
    }
}

/// The names under which other versions of WASI are imported.
fn refuse_other_wasi(module: &Module) -> Result<()> {
    let other = module.imports().find(|import| matches!(import.module(), "wasi_unstable" | "wasi"));
    match other {
        None => Ok(()),
        Some(import) => Err(refused(&format!(
            "it imports {} of '{}', which is not WASI preview 1 (wasi_snapshot_preview1)",
            import.name(),
            import.module()
        ))
        .hint("build it for wasm32-wasip1")),
    }
}

fn unlinked(why: &wasmtime::Error) -> Error {
    match why.downcast_ref::<UnknownImportError>() {
        Some(import) => refused(&format!(
            "it imports {} of '{}', and nothing of that name is given to modules here",
            import.name(),
            import.module()
        )),
        None => refused(&format!("it cannot be linked: {why:#}")),
    }
}
