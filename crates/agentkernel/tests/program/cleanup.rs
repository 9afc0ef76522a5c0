//! A sandbox that cannot be taken down is told, and is not forgotten.

use std::fs;
use std::path::{Path, PathBuf};

use agentkernel_testkit::Finished;
use rustix::process::Signal;

use crate::support::Trial;

/// A folder in the sandbox's control group, made by somebody else: the kernel does not remove a group that
/// holds another.
struct Obstacle(PathBuf);

impl Obstacle {
    fn in_group_of(name: &str) -> Self {
        let root = Path::new("/sys/fs/cgroup");
        let below = |folder: &Path| -> Vec<PathBuf> {
            fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
        };
        let mut groups: Vec<PathBuf> =
            [vec![root.to_owned()], below(root)].concat().iter().flat_map(|at| below(at)).collect();
        groups.retain(|path| path.is_dir() && path.to_string_lossy().ends_with(name));
        let path = groups.first().expect("the sandbox has a control group").join("held");
        fs::create_dir(&path).expect("made");
        Self(path)
    }

    /// Nothing is in the way any more.
    fn clear(&self) {
        fs::remove_dir(&self.0).expect("still there");
    }
}

impl Drop for Obstacle {
    /// What the program said that it has left goes as well, unless a later run was quicker.
    fn drop(&mut self) {
        fs::remove_dir(&self.0).ok();
        self.0.parent().map(fs::remove_dir);
    }
}

/// A run that could not take its sandbox down, and what is in the way.
fn obstructed(trial: &Trial) -> (Finished, Obstacle) {
    let running = trial.start(&[], "trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done");
    let obstacle = Obstacle::in_group_of(&trial.name);
    running.signal(Signal::TERM);
    (running.finish(), obstacle)
}

#[test]
fn a_sandbox_that_cannot_be_taken_down_is_told_whatever_its_command_did() {
    let Some(trial) = Trial::limiting() else { return };
    let (said, _obstacle) = obstructed(&trial);
    let text = said.assert_code(125).stderr_text();
    assert!(text.contains("agentkernel: stop the sandbox: "), "{text}");
    assert!(text.contains(&trial.name) && text.contains("Device or resource busy"), "{text}");
    assert!(text.ends_with("hint: the next start of agentkernel tries again\n"), "{text}");
}

#[test]
fn the_next_run_takes_down_what_could_not_be() {
    let Some(trial) = Trial::limiting() else { return };
    let (said, obstacle) = obstructed(&trial);
    said.assert_code(125);
    obstacle.clear();
    trial.say(&["run", "--", "true"]).assert_success();
    trial.assert_nothing_left();
}
