//! What is to be run.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use agentkernel_hypercalls::Words;

/// A command.
pub struct Order {
    pub cwd: PathBuf,
    pub has_stdin: bool,
    pub argv: Vec<OsString>,
    pub env: Vec<(OsString, OsString)>,
}

/// Why there is no program to be started.
pub enum NoProgram {
    Missing(i32, PathBuf),
    /// It is neither ELF nor a script.
    Garbled,
    /// It can only run at one address, where this kernel has something else.
    FixedAddress,
}

/// What is to be executed.
pub struct Program {
    pub path: PathBuf,
    pub argv: Vec<OsString>,
}

impl Order {
    /// Reads what a call says.
    pub fn parse(text: &str) -> Option<Self> {
        let words = Words::parse(text)?;
        let word = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let variable = |text: &Vec<u8>| {
            let at = text.iter().position(|byte| *byte == b'=')?;
            Some((word(&text[..at]), word(&text[at + 1..])))
        };
        Some(Self {
            cwd: PathBuf::from(word(&words.cwd)),
            has_stdin: words.has_stdin,
            argv: words.argv.iter().map(|one| word(one)).collect(),
            env: words.env.iter().map(variable).collect::<Option<_>>()?,
        })
    }

    /// Its program, looked for as execvp does. This kernel executes no scripts: their interpreter is.
    pub fn program(&self) -> Result<Program, NoProgram> {
        let path = self.find(&self.argv[0])?;
        let head = head_of(&path);
        let Some((interpreter, argument)) = interpreter(&head) else {
            check(&head)?;
            return Ok(Program { path, argv: self.argv.clone() });
        };
        let argv = [Some(interpreter.clone()), argument, Some(path.into_os_string())].into_iter().flatten();
        let argv = argv.chain(self.argv[1..].iter().cloned()).collect();
        let path = self.find(&interpreter)?;
        check(&head_of(&path))?;
        Ok(Program { path, argv })
    }

    fn find(&self, name: &OsStr) -> Result<PathBuf, NoProgram> {
        let candidates = if name.as_bytes().contains(&b'/') {
            vec![self.cwd.join(name)]
        } else {
            let path = self.env.iter().rev().find(|(name, _)| name == "PATH");
            let folders =
                path.map_or(OsStr::new(""), |(_, value)| value).as_bytes().split(|byte| *byte == b':');
            folders.map(|folder| Path::new(OsStr::from_bytes(folder)).join(name)).collect()
        };
        let mut missing = libc::ENOENT;
        for path in candidates {
            match fs::metadata(&path) {
                Ok(facts) if facts.is_file() && facts.permissions().mode() & 0o111 != 0 => {
                    return Ok(path);
                }
                Ok(_) => missing = libc::EACCES,
                Err(_) => {}
            }
        }
        Err(NoProgram::Missing(missing, name.into()))
    }
}

/// Most that is read of a script's first line, as Linux does.
const LINE_MAX: u64 = 256;

/// The interpreter of a script, and the one argument that it may be given.
fn interpreter(head: &[u8]) -> Option<(OsString, Option<OsString>)> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?.trim_ascii();
    let word = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    match line.iter().position(u8::is_ascii_whitespace) {
        Some(at) => Some((word(&line[..at]), Some(word(line[at..].trim_ascii())))),
        None => (!line.is_empty()).then(|| (word(line), None)),
    }
}

/// How a file begins; what cannot be read begins with nothing, and is no program.
fn head_of(path: &Path) -> Vec<u8> {
    let mut head = Vec::new();
    match fs::File::open(path).and_then(|file| file.take(LINE_MAX).read_to_end(&mut head)) {
        Ok(_) => head,
        Err(_) => Vec::new(),
    }
}

/// Refuses what is no ELF program, and one of a fixed address, which this kernel would end silently, with success.
fn check(head: &[u8]) -> Result<(), NoProgram> {
    const FIXED: &[u8] = &[2, 0]; // ET_EXEC
    match head.get(16..18) {
        Some(FIXED) if head.starts_with(b"\x7fELF") => Err(NoProgram::FixedAddress),
        Some(_) if head.starts_with(b"\x7fELF") => Ok(()),
        _ => Err(NoProgram::Garbled),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_has_its_interpreter_and_at_most_one_argument() {
        let told = |head: &[u8]| {
            interpreter(head).map(|(path, argument)| (path.into_vec(), argument.map(OsString::into_vec)))
        };
        assert_eq!(told(b"#! /bin/sed -n -f\nrest"), Some((b"/bin/sed".to_vec(), Some(b"-n -f".to_vec()))));
        assert_eq!(told(b"#!/bin/cat\n"), Some((b"/bin/cat".to_vec(), None)));
        assert_eq!((told(b"#!\n"), told(b"\x7fELF"), told(b"")), (None, None, None));
    }
}
