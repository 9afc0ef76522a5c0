//! An empty network namespace that is there before a sandbox needs one.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::sys;

const OWN: &str = "/proc/thread-self/ns/net";

/// Makes one, in which nobody is yet, and comes back. `None` where this user may not do so: then the sandbox makes its
/// own, together with its user namespace.
///
/// The kernel takes longer for it than for all other namespaces together (0.4 ms of 0.55 measured), and a zygote has nothing
/// to do while the host side makes its first plan.
pub(super) fn make_spare() -> io::Result<Option<OwnedFd>> {
    let Ok(own) = File::open(OWN) else { return Ok(None) };
    let come_back = || move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Network));
    // Root of a user namespace alone could go, and not come back to a network that is its host's.
    if come_back().is_err() || sys::unshare(libc::CLONE_NEWNET).is_err() {
        return Ok(None);
    }
    let spare = File::open(OWN);
    come_back()?;
    Ok(spare.ok().map(OwnedFd::from))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use agentkernel_process::Program;
    use rustix::fs::fstat;

    use super::*;

    fn own() -> u64 {
        fstat(File::open(OWN).expect("open")).expect("facts").st_ino
    }

    #[test]
    fn whoever_makes_one_stays_where_he_was() {
        let before = own();
        let spare = make_spare().expect("come back");
        assert_eq!(own(), before);
        if rustix::process::geteuid().is_root() {
            assert_ne!(fstat(spare.expect("root may")).expect("facts").st_ino, before);
        }
    }

    #[test]
    fn root_of_a_user_namespace_does_not_go_where_it_cannot_come_back_from() {
        let run = |words: &[&str]| {
            let unshare = Program::new(Path::new("/usr/bin/unshare")).expect("absolute").argument("-Ur");
            words.iter().fold(unshare, |program, word| program.argument(word)).output(Duration::from_secs(20))
        };
        if let Err(why) = run(&["/bin/true"]) {
            eprintln!("skipped: needs unshare and user namespaces ({why})");
            return;
        }
        let test = "zygote::network::tests::root_of_a_user_namespace";
        let this = std::env::current_exe().expect("this program");
        let this = this.to_str().expect("text");
        let told = run(&[this, "--exact", test, "--ignored", "--nocapture"]).expect("it passes");
        assert!(told.contains("1 passed"), "{told}");
    }

    #[test]
    #[ignore = "the child of root_of_a_user_namespace_does_not_go_where_it_cannot_come_back_from"]
    fn root_of_a_user_namespace() {
        if std::env::args().any(|word| word == "--exact") {
            let before = own();
            assert!(make_spare().expect("it stays").is_none());
            assert_eq!(own(), before);
        }
    }
}
