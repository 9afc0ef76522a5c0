//! What of a mount table holds, and what does not.

use super::super::planned::{OwnMount, PlannedMounts};
use super::*;

const MOUNTINFO: &str = "\
1 0 0:40 /rootfs / ro,nosuid,nodev,relatime - tmpfs agentkernel rw,size=16384k
2 1 254:0 /srv/x /workspace/x rw,nosuid,nodev,relatime - ext4 /dev/vda rw
3 1 0:41 / /tmp rw,nosuid,nodev,relatime - tmpfs tmpfs rw,size=4k,nr_inodes=16
";

fn expected() -> Expected {
    let own = |place: &str, is: &str| OwnMount { place: place.into(), is: is.into() };
    let bind = PlannedBind {
        place: "/workspace/x".into(),
        device: "254:0".into(),
        root: "/srv/x".into(),
        read_only: false,
        below: false,
    };
    let tmp = "tmpfs rw,nosuid,nodev,relatime size=4096 nr_inodes=16 mode=1777 uid=0 gid=0";
    let own = vec![own("/", "tmpfs ro,nosuid,nodev,relatime of /rootfs"), own("/tmp", tmp)];
    Expected { mounts: PlannedMounts { own, binds: vec![bind] }, ..Expected::default() }
}

/// What does not hold, of those controls that are about these mounts.
fn broken(mountinfo: &str, at_start: bool) -> Vec<String> {
    let lines = MountLine::all(mountinfo);
    let controls = controls(&expected(), 0, &lines, at_start);
    let is_about = |name: &str| name != "devices" && !name.starts_with("paths.");
    let broken = controls.into_iter().filter(|control| !control.held);
    broken.map(|control| control.name).filter(|name| is_about(name)).collect()
}

#[test]
fn what_is_mounted_as_planned_holds() {
    assert_eq!(broken(MOUNTINFO, true), Vec::<String>::new());
}

#[test]
fn a_sandbox_can_move_a_mount_only_once_it_runs() {
    let moved = MOUNTINFO.replace("/workspace/x", "/workspace/y");
    assert_eq!(broken(&moved, true), ["mounts.host", "mounts.writable"]);
    assert_eq!(broken(&moved, false), Vec::<String>::new());
    let outside = MOUNTINFO.replace("/workspace/x", "/mnt/x");
    assert_eq!(broken(&outside, false), ["mounts.host", "mounts.writable"]);
}

#[test]
fn another_folder_of_the_host_is_not_the_planned_one() {
    for (planned, actual) in [("/srv/x", "/srv/y"), ("254:0", "254:1")] {
        assert_eq!(broken(&MOUNTINFO.replace(planned, actual), false), ["mounts.host"]);
    }
}

#[test]
fn nothing_to_read_holds_nothing() {
    assert_eq!(broken("", false), ["root", "mount./tmp", "mounts.host", "mounts.writable"]);
}

/// The gofer's view of the same sandbox.
const OF_GOFER: &str = "\
1 0 0:40 /rootfs / ro,relatime - tmpfs agentkernel rw,size=16384k
2 1 254:0 /srv/x /workspace/x rw,nosuid,nodev,relatime - ext4 /dev/vda rw
";

#[test]
fn a_gofer_sees_the_root_and_what_was_asked_for() {
    let control = |mountinfo: &str| of_gofer(&expected(), 0, &MountLine::all(mountinfo));
    let as_planned = control(OF_GOFER);
    assert!(as_planned.held, "{as_planned:?}");
    for (as_planned, other, told) in [
        ("/ ro,", "/ rw,", "the root is tmpfs of /rootfs, rw,relatime"),
        ("/rootfs / ", "/ / ", "the root is tmpfs of /, ro,relatime"),
        ("1 0 0:40", "1 0 0:40 /x /x ro - tmpfs x rw\n1 0 0:40", "beside them /x (/x of 0:40)"),
        ("/srv/x ", "/srv/y ", "beside them /workspace/x (/srv/y of 254:0); no /workspace/x"),
        ("rw,nosuid,nodev", "rw,nosuid", "/workspace/x is rw,nosuid,relatime"),
        ("relatime - ext4", "relatime shared:7 - ext4", "/workspace/x is shared:7"),
    ] {
        assert!(OF_GOFER.contains(as_planned));
        let control = control(&OF_GOFER.replace(as_planned, other));
        assert_eq!((control.held, &*control.actual), (false, told), "{as_planned}");
    }
    assert_eq!(control("").actual, "no root; no /workspace/x");
}
