//! Where interpreters are kept: a module for each language, and beside it what it is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use agentkernel_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::language::Language;

/// What is known of an interpreter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interpreter {
    /// The word of its language.
    pub language: String,
    /// The package that it was made of.
    pub package: String,
    /// What it is, for a person.
    pub version: String,
    /// Under which licences it stands.
    pub licence: String,
    /// Digest of what it was made of.
    pub recipe: String,
    /// SHA-256 of the module, in hexadecimal.
    pub sha256: String,
}

/// Interpreters below one folder.
#[derive(Debug, Clone)]
pub struct Store(PathBuf);

impl Store {
    /// Those below this folder.
    #[must_use]
    pub fn below(home: &Path) -> Self {
        Self(home.to_owned())
    }

    /// The module of this language, to run code with. Of the module itself nothing is read.
    pub fn ready(&self, language: Language) -> Result<PathBuf> {
        let missing = |why: &str| {
            Error::new(ErrorKind::Unavailable, "find the interpreter", why)
                .on(language)
                .hint(format!("agentkernel setup eval --lang {language}"))
        };
        let about = self.about(language)?.ok_or_else(|| missing("it is not installed"))?;
        if about.recipe != language.recipe() {
            return Err(missing("it was made by another version of agentkernel"));
        }
        Ok(self.module(language))
    }

    /// What there is, if it is whole and what would be made today.
    pub(crate) fn find(&self, language: Language) -> Option<Interpreter> {
        let about = self.about(language).ok()??;
        let wasm = fs::read(self.module(language)).ok()?;
        (about.recipe == language.recipe() && about.sha256 == sha256(&wasm)).then_some(about)
    }

    /// Keeps one, in the place of what was there: each file as a whole or not at all, and what it is last.
    pub(crate) fn keep(&self, language: Language, about: &Interpreter, wasm: &[u8]) -> io::Result<()> {
        let replace = |path: &Path, content: &[u8]| {
            let unfinished = path.with_extension("new");
            fs::write(&unfinished, content)?;
            fs::rename(&unfinished, path)
        };
        let json = serde_json::to_vec_pretty(about).map_err(io::Error::other)?;
        replace(&self.module(language), wasm)?;
        replace(&self.about_file(language), &json)
    }

    fn about(&self, language: Language) -> Result<Option<Interpreter>> {
        let path = self.about_file(language);
        let broken = |why: &dyn std::fmt::Display| {
            Error::new(ErrorKind::Host, "find the interpreter", why)
                .on(path.display())
                .hint(format!("agentkernel setup eval --lang {language} makes it anew"))
        };
        match fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json).map(Some).map_err(|why| broken(&why)),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(why) => Err(broken(&why)),
        }
    }

    fn module(&self, language: Language) -> PathBuf {
        self.0.join(format!("{language}.wasm"))
    }

    fn about_file(&self, language: Language) -> PathBuf {
        self.0.join(format!("{language}.json"))
    }
}

/// SHA-256, in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interpreter(wasm: &[u8]) -> Interpreter {
        Interpreter {
            language: "js".into(),
            package: "a package".into(),
            version: "1".into(),
            licence: "MIT".into(),
            recipe: Language::Js.recipe(),
            sha256: sha256(wasm),
        }
    }

    #[test]
    fn what_is_kept_is_found_and_what_was_changed_is_not() {
        let home = tempfile::tempdir().expect("a folder");
        let store = Store::below(home.path());
        let why = store.ready(Language::Js).expect_err("nothing there");
        assert_eq!(
            (why.to_string().as_str(), why.hint.as_deref()),
            ("find the interpreter: js: it is not installed", Some("agentkernel setup eval --lang js"))
        );
        let about = interpreter(b"module");
        store.keep(Language::Js, &about, b"module").expect("kept");
        assert_eq!(store.find(Language::Js), Some(about.clone()));
        let path = store.ready(Language::Js).expect("ready");
        assert_eq!(fs::read(&path).expect("there"), b"module");
        assert_eq!(store.find(Language::Python), None);
        assert_eq!(fs::read_dir(home.path()).expect("listed").count(), 2, "nothing unfinished is left");
        fs::write(&path, "modulf").expect("written");
        assert_eq!(store.find(Language::Js), None, "it was changed");
        let other = Interpreter { recipe: "other".into(), ..about };
        store.keep(Language::Js, &other, b"module").expect("kept");
        assert_eq!(store.find(Language::Js), None, "it was made of something else");
        assert!(store.ready(Language::Js).expect_err("old").to_string().contains("another version"));
        fs::write(home.path().join("js.json"), "{").expect("written");
        assert!(store.ready(Language::Js).is_err());
    }
}
