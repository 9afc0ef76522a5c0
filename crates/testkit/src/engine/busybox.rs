//! An image of an engine's, made of busybox: a small system that is no host's.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::TestEngine;
use crate::require::tool_or_skip;

impl TestEngine {
    /// Gives the engine an image with busybox and all its words, a file `/etc/marker`, and what `more` puts into its
    /// root; `None` after a loud skip.
    ///
    /// # Panics
    /// If the engine does not take it.
    pub fn import_busybox(&self, name: &str, changes: &[&str], more: impl Fn(&Path)) -> Option<()> {
        let busybox = tool_or_skip("busybox")?;
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("root");
        for place in ["bin", "usr/bin", "etc"] {
            fs::create_dir_all(root.join(place)).expect("made");
        }
        fs::copy(&busybox, root.join("bin/busybox")).expect("copied");
        #[expect(clippy::disallowed_methods, reason = "it says its own words")]
        let words = Command::new(&busybox).arg("--list").output().expect("run busybox").stdout;
        for word in String::from_utf8_lossy(&words).lines().filter(|word| *word != "busybox") {
            symlink("busybox", root.join("bin").join(word)).expect("linked");
        }
        // Where every system has it.
        symlink("/bin/busybox", root.join("usr/bin/env")).expect("linked");
        fs::write(root.join("etc/marker"), "of the image").expect("written");
        more(&root);
        let file = folder.path().join("image.tar");
        let mut tar = tar::Builder::new(File::create(&file).expect("made"));
        tar.follow_symlinks(false);
        tar.append_dir_all(".", &root).expect("packed");
        tar.finish().expect("packed");
        let file = file.display().to_string();
        let mut line = vec!["import"];
        line.extend(changes.iter().flat_map(|change| ["--change", *change]));
        line.extend([&*file, name]);
        let _id = self.client(&line);
        Some(())
    }
}
