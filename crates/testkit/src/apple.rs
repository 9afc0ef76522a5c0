//! A stand-in for Apple's `container` program, on a Podman of the test's own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use crate::engine::TestEngine;
use crate::require::tool_or_skip;

/// The program. What it is and what it is not, it says itself.
const PROGRAM: &str = include_str!("apple/container.py");

/// A stand-in that knows what the real program knew in this version, unless another is said.
const VERSION: &str = "1.2.2";

/// A stand-in, and the engine that it is made of.
#[derive(Debug)]
pub struct TestApple {
    engine: TestEngine,
}

impl TestApple {
    /// A stand-in whose services run, or `None` after a loud skip.
    ///
    /// # Panics
    /// If it cannot be made, or if something is missing and must not be.
    #[must_use]
    pub fn start() -> Option<Self> {
        let _python = tool_or_skip("python3")?;
        let engine = TestEngine::podman()?;
        let apple = Self { engine };
        for folder in ["", "bin", "faults", "containers", "blocks"] {
            fs::create_dir(apple.place(folder)).expect("make a folder");
        }
        let program = apple.place("bin/container");
        fs::write(&program, PROGRAM).expect("write the program");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("make it a program");
        fs::write(apple.place("podman"), apple.engine.client_words().join("\n")).expect("write its words");
        fs::write(apple.place("services"), "").expect("start the services");
        apple.set_version(VERSION);
        Some(apple)
    }

    fn place(&self, name: &str) -> PathBuf {
        self.engine.folder().join("apple").join(name)
    }

    /// The folder that the program is in.
    #[must_use]
    pub fn search_path(&self) -> PathBuf {
        self.place("bin")
    }

    /// The engine beneath it, for what it knows of images.
    #[must_use]
    pub fn engine(&self) -> &TestEngine {
        &self.engine
    }

    /// It says that it is this version, and knows no younger word.
    ///
    /// # Panics
    /// If that cannot be written.
    pub fn set_version(&self, version: &str) {
        fs::write(self.place("version"), version).expect("write the version");
    }

    /// As `container system stop` does.
    ///
    /// # Panics
    /// If they do not run.
    pub fn stop_services(&self) {
        fs::remove_file(self.place("services")).expect("stop the services");
    }

    /// From now on this verb runs this script of the shell instead, or behind what it does if it ends with `.after`.
    ///
    /// # Panics
    /// If that cannot be written.
    pub fn break_verb(&self, verb: &str, script: &str) {
        fs::write(self.place("faults").join(verb), script).expect("write the fault");
    }

    /// From now on it does again what it should.
    ///
    /// # Panics
    /// If it is not broken.
    pub fn mend(&self, verb: &str) {
        fs::remove_file(self.place("faults").join(verb)).expect("it was broken");
    }

    /// What it was asked so far, a line for each run.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        let asked = fs::read_to_string(self.place("asked")).unwrap_or_default();
        asked.lines().map(str::to_owned).collect()
    }

    /// Images that it would have fetched.
    #[must_use]
    pub fn fetched(&self) -> String {
        fs::read_to_string(self.place("fetched")).unwrap_or_default()
    }

    /// Runs it as a user would.
    ///
    /// # Panics
    /// If it fails.
    pub fn run(&self, words: &[&str]) -> String {
        #[expect(clippy::disallowed_methods, reason = "the stand-in is beside the program under test")]
        let output = Command::new(self.place("bin/container")).args(words).output().expect("run it");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Names of the containers that there are.
    #[must_use]
    pub fn containers(&self) -> Vec<String> {
        let listed = self.engine.client(&["ps", "--all", "--format", "{{.Names}}"]);
        listed.lines().map(str::to_owned).collect()
    }
}
