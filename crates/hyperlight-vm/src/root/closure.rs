//! What an ELF program needs to run: its loader, and its libraries with theirs.

use object::elf::{DT_NEEDED, FileHeader64, PT_INTERP};
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _, Sym as _};
use object::{Endianness, StringTable};

/// What a program says that it needs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Path of its loader.
    pub loader: Option<String>,
    /// Names of its libraries.
    pub libraries: Vec<String>,
    /// Whether it calls `fork`.
    pub forks: bool,
}

/// Reads the needs of a program; none of what is no ELF file of 64 bits, or garbled.
pub fn needs_of(program: &[u8]) -> Needs {
    read(program).unwrap_or_default()
}

fn read(data: &[u8]) -> Option<Needs> {
    let header = FileHeader64::<Endianness>::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let mut needs = Needs::default();
    for segment in header.program_headers(endian, data).ok()? {
        if segment.p_type(endian) == PT_INTERP {
            let path = segment.interpreter(endian, data).ok()??;
            needs.loader = Some(String::from_utf8_lossy(path).into_owned());
        }
    }
    let sections = header.sections(endian, data).ok()?;
    if let Some((dynamic, link)) = sections.dynamic(endian, data).ok()? {
        let strings = sections.strings(endian, data, link).unwrap_or_default();
        needs.libraries = libraries(endian, dynamic, strings);
    }
    let symbols = sections.symbols(endian, data, object::elf::SHT_DYNSYM).ok()?;
    needs.forks = symbols.iter().any(|symbol| {
        let is_wanted = symbol.st_shndx(endian) == object::elf::SHN_UNDEF;
        is_wanted && symbols.symbol_name(endian, symbol).is_ok_and(|name| name == b"fork")
    });
    Some(needs)
}

fn libraries(
    endian: Endianness,
    dynamic: &[object::elf::Dyn64<Endianness>],
    strings: StringTable<'_>,
) -> Vec<String> {
    let wanted = dynamic.iter().filter(|entry| entry.tag32(endian) == Some(DT_NEEDED));
    let names = wanted.filter_map(|entry| entry.string(endian, strings).ok());
    names.map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}
