//! What is to be run: one text of zero-ended words, as hexadecimal digits.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::flatbuffer;

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

/// Reads a call: `cwd`, `stdin` or nothing, the number of words, the words, and variables as `NAME=value`.
pub fn parse(call: &[u8]) -> Option<Order> {
    let bytes = bytes(flatbuffer::text(call, 1)?.as_bytes())?;
    let mut words = bytes.strip_suffix(b"\0")?.split(|byte| *byte == 0);
    let word = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let cwd = PathBuf::from(word(words.next()?));
    let has_stdin = words.next()? == b"stdin";
    let count: usize = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
    let argv: Vec<_> = words.by_ref().take(count).map(word).collect();
    let variable = |text: &[u8]| {
        let at = text.iter().position(|byte| *byte == b'=')?;
        Some((word(&text[..at]), word(&text[at + 1..])))
    };
    let env = words.map(variable).collect::<Option<_>>()?;
    (count > 0 && argv.len() == count).then_some(Order { cwd, has_stdin, argv, env })
}

impl Order {
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

/// Bytes as digits.
pub fn digits(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |number: u8| char::from(DIGITS[usize::from(number)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Digits as bytes; `None` if they are none.
pub fn bytes(digits: &[u8]) -> Option<Vec<u8>> {
    let number = |digit: u8| u8::try_from(char::from(digit).to_digit(16)?).ok();
    let pairs = digits.chunks(2).map(|pair| Some(number(pair[0])? << 4 | number(*pair.get(1)?)?));
    pairs.collect()
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

    #[test]
    fn digits_are_bytes_and_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(bytes(digits(&all).as_bytes()), Some(all));
        assert_eq!((bytes(b"0"), bytes(b"0g"), bytes(b"")), (None, None, Some(Vec::new())));
    }
}
