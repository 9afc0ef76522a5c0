//! A snapshot of a command module after its initialiser: its memory becomes its data.
//!
//! Nothing but memory is taken, which is all the state that a program in C has: its one variable outside, the pointer to its
//! stack, is back at its beginning once the initialiser has returned. A module with more is refused.

use std::fmt::Display;
use std::ops::Range;

use wasm_encoder::{
    ConstExpr, DataCountSection, DataSection, ExportKind, ExportSection, MemorySection, MemoryType,
    RawSection,
};
use wasmparser::{
    DataKind, DataSectionReader, ExportSectionReader, ExternalKind, GlobalSectionReader, MemorySectionReader,
    Operator, Parser, Payload,
};
use wasmtime::{
    Caller, Config, Engine, Extern, Linker, Module, OptLevel, Store, StoreLimits, StoreLimitsBuilder,
};

/// A page of Wasm memory.
const PAGE_BYTES: usize = 64 << 10;
/// So many zeros between two pieces cost less than a segment of their own.
const GAP_BYTES: usize = 16;
/// Most memory of an initialiser, and most that it may compute, in instructions.
const MEMORY_BYTES_MAX: usize = 64 << 20;
const FUEL: u64 = 1_000_000_000;
/// What every clock says to an initialiser: one second, that nothing is zero which may not be.
const TIME_NS: u64 = 1_000_000_000;

type Result<T> = std::result::Result<T, String>;

/// The module as it is once `initialiser`, a function that it exports, has returned; it exports it no more. What the
/// initialiser sees of the host is a clock that stands still: two snapshots of one module are the same.
pub fn snapshot(module: &[u8], initialiser: &str) -> Result<Vec<u8>> {
    let data_start = data_start(module)?;
    let memory = initialised(module, initialiser)?;
    with_memory(module, &memory, data_start.min(memory.len()), initialiser)
}

/// Where data begins, of a module that nothing but memory has to be kept of. All below is stack, if the linker was told
/// `--stack-first`.
fn data_start(module: &[u8]) -> Result<usize> {
    let (mut start, mut variables, mut memories) = (None, 0, 0);
    for payload in Parser::new(0).parse_all(module) {
        match payload.map_err(text)? {
            Payload::StartSection { .. } => {
                return Err("it has a start function, which would run again".into());
            }
            Payload::MemorySection(section) => memories += section.count(),
            Payload::GlobalSection(section) => variables += count_variables(section)?,
            Payload::DataSection(section) => start = first_place(section)?,
            _ => {}
        }
    }
    if memories != 1 {
        return Err(format!("it has {memories} memories of its own, and not one"));
    }
    if variables > 1 {
        return Err(format!("it has {variables} variables outside of its memory"));
    }
    start.ok_or_else(|| "it has no data, and so no place where data begins".into())
}

fn count_variables(section: GlobalSectionReader<'_>) -> Result<usize> {
    let globals = section.into_iter().map(|global| global.map(|global| usize::from(global.ty.mutable)));
    globals.sum::<std::result::Result<_, _>>().map_err(text)
}

fn first_place(section: DataSectionReader<'_>) -> Result<Option<usize>> {
    let places: Result<Vec<_>> =
        section.into_iter().map(|segment| place(&segment.map_err(text)?.kind)).collect();
    Ok(places?.into_iter().min())
}

fn place(kind: &DataKind<'_>) -> Result<usize> {
    let DataKind::Active { memory_index: 0, offset_expr } = kind else {
        return Err("one of its segments has no place in its memory".into());
    };
    match offset_expr.get_operators_reader().read().map_err(text)? {
        Operator::I32Const { value } => usize::try_from(value.cast_unsigned()).map_err(text),
        _ => Err("one of its segments has a place that has to be computed".into()),
    }
}

/// Its memory once the initialiser has returned.
fn initialised(module: &[u8], initialiser: &str) -> Result<Vec<u8>> {
    let run = || {
        let mut config = Config::new();
        config.consume_fuel(true).cranelift_opt_level(OptLevel::None);
        let engine = Engine::new(&config)?;
        let module = Module::new(&engine, module)?;
        let mut linker = Linker::new(&engine);
        linker.func_wrap("wasi_snapshot_preview1", "clock_time_get", tell_time)?;
        linker.define_unknown_imports_as_traps(&module)?;
        let limits = StoreLimitsBuilder::new().memory_size(MEMORY_BYTES_MAX).build();
        let mut store = Store::new(&engine, limits);
        store.limiter(|limits| limits);
        store.set_fuel(FUEL)?;
        let instance = linker.instantiate(&mut store, &module)?;
        instance.get_typed_func::<(), ()>(&mut store, initialiser)?.call(&mut store, ())?;
        let memory = instance.get_memory(&mut store, "memory").ok_or_else(no_memory)?;
        Ok(memory.data(&store).to_vec())
    };
    run().map_err(|why: wasmtime::Error| why.root_cause().to_string())
}

fn no_memory() -> wasmtime::Error {
    wasmtime::Error::msg("it exports no memory")
}

/// `clock_time_get` of WASI, of a clock that stands still.
fn tell_time(
    mut caller: Caller<'_, StoreLimits>,
    _clock: i32,
    _precision: i64,
    at: i32,
) -> wasmtime::Result<i32> {
    let memory = caller.get_export("memory").and_then(Extern::into_memory).ok_or_else(no_memory)?;
    memory.write(&mut caller, usize::try_from(at.cast_unsigned())?, &TIME_NS.to_le_bytes())?;
    Ok(0)
}

/// `module` with `memory` as its initial memory from `data_start` on, without the export `initialiser`.
fn with_memory(module: &[u8], memory: &[u8], data_start: usize, initialiser: &str) -> Result<Vec<u8>> {
    let pieces = pieces(memory, data_start);
    let mut new = wasm_encoder::Module::new();
    for payload in Parser::new(0).parse_all(module) {
        match payload.map_err(text)? {
            Payload::MemorySection(section) => new.section(&grown(section, memory.len())?),
            Payload::ExportSection(section) => new.section(&without(section, initialiser)?),
            Payload::DataCountSection { .. } => {
                new.section(&DataCountSection { count: u32::try_from(pieces.len()).map_err(text)? })
            }
            Payload::DataSection(_) => new.section(&data(memory, &pieces)?),
            other => match other.as_section() {
                Some((id, range)) => new.section(&RawSection { id, data: &module[range] }),
                None => continue,
            },
        };
    }
    Ok(new.finish())
}

/// The one memory, with as much at its beginning as it has now.
fn grown(section: MemorySectionReader<'_>, bytes: usize) -> Result<MemorySection> {
    let mut memories = MemorySection::new();
    for old in section {
        let old = old.map_err(text)?;
        memories.memory(MemoryType {
            minimum: u64::try_from(bytes / PAGE_BYTES).map_err(text)?,
            maximum: old.maximum,
            memory64: old.memory64,
            shared: old.shared,
            page_size_log2: old.page_size_log2,
        });
    }
    Ok(memories)
}

fn without(section: ExportSectionReader<'_>, name: &str) -> Result<ExportSection> {
    let mut exports = ExportSection::new();
    for old in section {
        let old = old.map_err(text)?;
        let kind = match old.kind {
            ExternalKind::Func => ExportKind::Func,
            ExternalKind::Table => ExportKind::Table,
            ExternalKind::Memory => ExportKind::Memory,
            ExternalKind::Global => ExportKind::Global,
            ExternalKind::Tag => ExportKind::Tag,
        };
        if old.name != name {
            exports.export(old.name, kind, old.index);
        }
    }
    Ok(exports)
}

fn data(memory: &[u8], pieces: &[Range<usize>]) -> Result<DataSection> {
    let mut section = DataSection::new();
    for piece in pieces {
        let at = u32::try_from(piece.start).map_err(text)?.cast_signed();
        section.active(0, &ConstExpr::i32_const(at), memory[piece.clone()].iter().copied());
    }
    Ok(section)
}

fn text(why: impl Display) -> String {
    why.to_string()
}

/// Where memory is not zero, from `from` on.
fn pieces(memory: &[u8], from: usize) -> Vec<Range<usize>> {
    let next = |at: usize, most: usize| memory[at..].iter().take(most).position(|byte| *byte != 0);
    let (mut pieces, mut at) = (Vec::new(), from);
    while let Some(zeros) = next(at, usize::MAX) {
        let start = at + zeros;
        at = start;
        while let Some(zeros) = next(at, GAP_BYTES) {
            at += zeros + 1;
        }
        pieces.push(start..at);
    }
    pieces
}

#[cfg(test)]
mod tests;
