//! Who may come over TCP: the file of tokens, one `name:token` a line.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use agentkernel_core::{Error, ErrorKind, Result};
use rustix::rand::{GetRandomFlags, getrandom};
use subtle::ConstantTimeEq as _;

/// Fewer characters than this can be guessed.
const TOKEN_LEN_MIN: usize = 16;

/// Longer files are none of ours.
const FILE_LEN_MAX: u64 = 1 << 20;

/// All tokens. There is no way to print them.
pub struct Tokens {
    all: Vec<(String, String)>,
}

impl Tokens {
    /// Reads the file; makes one with a random token, whose owner is `default`, if there is none.
    pub fn read_or_make(path: &Path) -> Result<Self> {
        match fs::metadata(path) {
            Ok(facts) if facts.permissions().mode() & 0o077 != 0 => {
                let why = "others may read it";
                Err(Error::new(ErrorKind::Host, "read the tokens", why)
                    .on(path.display())
                    .hint(format!("chmod 600 {}", path.display())))
            }
            Ok(facts) if facts.len() > FILE_LEN_MAX => Err(failed("read the tokens", path, "it is too long")),
            Ok(_) => {
                let text = fs::read_to_string(path).map_err(|why| failed("read the tokens", path, why))?;
                Self::parse(&text).map_err(|why| failed("read the tokens", path, why))
            }
            Err(why) if why.kind() == io::ErrorKind::NotFound => Self::make(path),
            Err(why) => Err(failed("read the tokens", path, why)),
        }
    }

    fn make(path: &Path) -> Result<Self> {
        let wrong = |why: io::Error| failed("make a token", path, why);
        let token = random_hex::<32>()?;
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(wrong)?;
        writeln!(file, "default:{token}").map_err(wrong)?;
        Ok(Self { all: vec![("default".into(), token)] })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut all = Vec::<(String, String)>::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |why: &str| format!("line {}: {why}", index + 1);
            let (name, token) = line.split_once(':').ok_or_else(|| wrong("it is not name:token"))?;
            let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
            if name.is_empty() || name.len() > 64 || !name.chars().all(is_name) {
                return Err(wrong("the name is not 1 to 64 of letters, digits and -_.@"));
            }
            if token.len() < TOKEN_LEN_MIN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(wrong("the token has fewer than 16 characters, or some that cannot be sent"));
            }
            if all.iter().any(|(_, other)| other == token) {
                return Err(wrong("the token is another one's, too"));
            }
            all.push((name.to_owned(), token.to_owned()));
        }
        if all.is_empty() { Err("it has no token".into()) } else { Ok(Self { all }) }
    }

    /// Whose token this is. Takes as long whichever it is, and whether it is one.
    pub fn owner(&self, token: &[u8]) -> Option<&str> {
        let mut owner = None;
        for (name, known) in &self.all {
            if bool::from(known.as_bytes().ct_eq(token)) {
                owner = Some(name.as_str());
            }
        }
        owner
    }
}

/// Random bytes in hexadecimal digits.
pub fn random_hex<const LEN: usize>() -> Result<String> {
    let mut bytes = [0; LEN];
    let mut filled = 0;
    while filled < LEN {
        let random = getrandom(&mut bytes[filled..], GetRandomFlags::empty());
        filled += random.map_err(|why| Error::new(ErrorKind::Host, "get random bytes", why))?;
    }
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn failed(what: &str, path: &Path, why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Host, what, why).on(path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_name_their_owners() {
        let tokens = Tokens::parse("# us\nalice:0123456789abcdef\n\nbob:fedcba9876543210\n").expect("valid");
        assert_eq!(tokens.owner(b"0123456789abcdef"), Some("alice"));
        assert_eq!(tokens.owner(b"fedcba9876543210"), Some("bob"));
        for wrong in ["", "0123456789abcde", "0123456789abcdef0", "alice"] {
            assert_eq!(tokens.owner(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn what_could_be_guessed_or_mistaken_is_refused() {
        for wrong in [
            "",
            "alice",
            "alice:short",
            ":0123456789abcdef",
            "uid:0:0123456789abcdef x",
            "a b:0123456789abcdef",
            "a:0123456789abcdef\nb:0123456789abcdef",
        ] {
            assert!(Tokens::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_file_is_made_for_its_owner_alone_and_read_again() {
        let folder = tempfile::tempdir().expect("temp dir");
        let path = folder.path().join("tokens");
        let made = Tokens::read_or_make(&path).expect("made");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let token = made.all[0].1.clone();
        assert_eq!(token.len(), 64);
        assert_eq!(Tokens::read_or_make(&path).expect("read").owner(token.as_bytes()), Some("default"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("changed");
        assert!(Tokens::read_or_make(&path).is_err_and(|error| error.hint.is_some()));
    }
}
