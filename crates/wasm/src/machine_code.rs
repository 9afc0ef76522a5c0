//! A module that is compiled here, to run in a machine of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use agentkernel_core::{Call, Error, ErrorKind, ModuleFile, Result};
use agentkernel_instance::{START, from_text, imports, of_machine, to_text};
use serde_json::Value;
use wasmparser::{Parser, Payload};
use wasmtime::{Config, Engine, ExternType, FuncType};
use wasmtime_wasi::preview1::WasiP1Ctx;

use crate::cache::Cache;
use crate::process::no_start;
use crate::{call, program, sys, values};

/// The machines' processor: what every one of theirs can do.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Machine code for a machine, and what must be known of it outside.
pub struct MachineCode {
    code: Vec<u8>,
    functions: BTreeMap<String, FuncType>,
    is_still: bool,
}

impl MachineCode {
    /// Reads and compiles a module, or takes the code from this folder, where it is kept.
    pub fn load(file: &ModuleFile, cache: Option<PathBuf>) -> Result<Self> {
        Self::of(file, &Self::read(file)?, cache)
    }

    /// The bytes of a module that is still what it was: all that may need more rights than its compiler should have.
    pub fn read(file: &ModuleFile) -> Result<Vec<u8>> {
        program::read(file)
    }

    /// Compiles the bytes of this module, or takes the code from this folder, where it is kept.
    pub fn of(file: &ModuleFile, wasm: &[u8], cache: Option<PathBuf>) -> Result<Self> {
        let failed =
            |why: wasmtime::Error| Error::new(ErrorKind::Host, "compile for a machine", format!("{why:#}"));
        let engine = Engine::new(&config().map_err(failed)?).map_err(failed)?;
        let named = |why: Error| why.on(file.path().display());
        let compile = || Cache::new(cache).compiled(&engine, wasm);
        let (module, code) = program::compiled(wasm, compile).map_err(named)?;
        let linker = imports(&engine, |wasi: &mut WasiP1Ctx| wasi).map_err(failed)?;
        program::linked(&linker, &module).map_err(named)?;
        let function = |export: wasmtime::ExportType<'_>| match export.ty() {
            ExternType::Func(takes) => Some((export.name().to_owned(), takes)),
            _ => None,
        };
        let functions = module.exports().filter_map(function).collect();
        Ok(Self { code, functions, is_still: is_still(wasm) })
    }

    /// Whether an instance does nothing of its own accord while it is made.
    #[must_use]
    pub fn is_still(&self) -> bool {
        self.is_still
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> &[u8] {
        &self.code
    }

    /// Gives the code's memory back, once a machine has it.
    pub fn forget_code(&mut self) {
        self.code = Vec::new();
    }

    fn names(&self) -> Vec<&str> {
        self.functions.keys().map(String::as_str).collect()
    }

    /// Why it cannot be run as a command, if it cannot.
    pub fn check_command(&self) -> Result<(), String> {
        let is_start = |takes: &FuncType| takes.params().next().is_none() && takes.results().next().is_none();
        let is_command = self.functions.get(START).is_some_and(is_start);
        if is_command { Ok(()) } else { Err(no_start(&self.names())) }
    }

    /// The arguments of a call as text for the machine.
    pub fn arguments(&self, call: &Call) -> Result<String> {
        let unknown = || call::unknown(&call.function, &self.names());
        let takes = self.functions.get(&call.function).ok_or_else(unknown)?;
        let arguments = values::arguments(call, takes)?;
        to_text(&arguments).ok_or_else(unknown)
    }

    /// What a function of this name has returned, of the machine's text; `None` if it cannot have returned that.
    #[must_use]
    pub fn results(&self, function: &str, text: &str) -> Option<Vec<Value>> {
        let (results, takes) = (from_text(text)?, self.functions.get(function)?);
        let is_of = |(result, kind): (&wasmtime::Val, wasmtime::ValType)| {
            matches!(
                (result, kind),
                (wasmtime::Val::I32(_), wasmtime::ValType::I32)
                    | (wasmtime::Val::I64(_), wasmtime::ValType::I64)
                    | (wasmtime::Val::F32(_), wasmtime::ValType::F32)
                    | (wasmtime::Val::F64(_), wasmtime::ValType::F64)
            )
        };
        let fits = results.len() == takes.results().len() && results.iter().zip(takes.results()).all(is_of);
        fits.then(|| results.iter().map(values::result).collect())
    }
}

/// The settings of machines, and of their compiler.
fn config() -> wasmtime::Result<Config> {
    let mut config = of_machine();
    config.target(TARGET)?;
    let there = features().into_iter().filter(|(_, is_there)| *is_there);
    there.for_each(|(feature, _)| sys::enable(&mut config, feature));
    Ok(config)
}

/// What this processor can do beyond the least of its kind, of that which needs no state that a kernel has to save.
#[cfg(target_arch = "x86_64")]
fn features() -> [(&'static str, bool); 5] {
    [
        ("has_sse3", is_x86_feature_detected!("sse3")),
        ("has_ssse3", is_x86_feature_detected!("ssse3")),
        ("has_sse41", is_x86_feature_detected!("sse4.1")),
        ("has_sse42", is_x86_feature_detected!("sse4.2")),
        ("has_popcnt", is_x86_feature_detected!("popcnt")),
    ]
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> [(&'static str, bool); 0] {
    []
}

/// Whether this module, which is one, has no function that runs by itself when an instance is made.
fn is_still(wasm: &[u8]) -> bool {
    let Ok(wasm) = wat::parse_bytes(wasm) else { return false };
    // It comes before all code, which is not read: large modules are mostly that.
    let decides = |part| match part {
        Ok(Payload::StartSection { .. }) | Err(_) => Some(false),
        Ok(Payload::CodeSectionStart { .. } | Payload::End(_)) => Some(true),
        Ok(_) => None,
    };
    Parser::new(0).parse_all(&wasm).find_map(decides).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::program::module_file;

    fn load(text: &str) -> Result<MachineCode> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("module.wat");
        fs::write(&path, text).expect("written");
        MachineCode::load(&module_file(&path).expect("a file"), Some(folder.path().join("cache")))
    }

    #[test]
    fn what_is_wrong_with_a_module_or_a_call_is_told_before_there_is_a_machine() {
        let add = "(func (export \"add\") (param i32 f64) (result f64) local.get 1)";
        let module = load(&format!("(module {add})")).expect("compiled");
        assert!(!module.code().is_empty());
        assert!(module.check_command().expect_err("no command").contains("add"));
        let call =
            |text: &str| module.arguments(&text.parse().expect("a call")).map_err(|why| why.to_string());
        assert_eq!(call("add(1, 0.5)"), Ok("i32:1 f64:4602678819172646912".into()));
        assert!(call("add(1)").expect_err("refused").contains("it takes 2 and not 1"));
        assert!(call("sub(1)").expect_err("refused").contains("but add"));
        assert_eq!(module.results("add", "f64:0"), Some(vec![Value::from(0.0)]));
        for wrong in ["", "i32:0", "f64:0 f64:0", "x"] {
            assert_eq!(module.results("add", wrong), None, "{wrong}");
        }
        let import = load("(module (import \"env\" \"f\" (func)))").err().expect("refused");
        assert!(import.why.contains("env") && import.subject.contains("module.wat"), "{import}");
        assert!(load("(module (func (export \"_start\")))").expect("compiled").check_command().is_ok());
    }

    #[test]
    fn an_instance_is_made_before_it_is_wanted_only_if_nothing_of_it_runs_by_itself() {
        let still = "(module (memory 1) (data (i32.const 0) \"x\") (func (export \"_start\")))";
        assert!(load(still).expect("compiled").is_still());
        let runs = "(module (func $f (loop br 0)) (start $f))";
        assert!(!load(runs).expect("compiled").is_still());
        let by_another = "(module (import \"wasi_snapshot_preview1\" \"sched_yield\" (func $f (result i32)))
            (func $g (drop (call $f))) (start $g) (func (export \"_start\")))";
        assert!(!load(by_another).expect("compiled").is_still());
        assert!(load("(module)").expect("compiled").is_still());
        assert!(!is_still(b"\0asm\x01\0\0\0\xff"), "of what cannot be read nothing is known");
    }
}
