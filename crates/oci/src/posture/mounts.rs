//! Controls that are read from the mounts of a sandbox.

use agentkernel_core::Control;

use super::Expected;
use crate::bundle::{DEVICES, MASKED_PATHS};

struct Mount<'a> {
    place: &'a str,
    options: Vec<&'a str>,
}

fn parse(mountinfo: &str) -> Vec<Mount<'_>> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(4);
            Some(Mount { place: words.next()?, options: words.next()?.split(',').collect() })
        })
        .collect()
}

/// All controls that are read from a sandbox's `mountinfo`.
pub(super) fn controls(expected: &Expected, mountinfo: &str) -> [Control; 3] {
    let mounts = parse(mountinfo);
    [root_is_read_only(&mounts), only_these_are_writable(expected, &mounts), masked(&mounts)]
}

fn root_is_read_only(mounts: &[Mount<'_>]) -> Control {
    let root = mounts.iter().find(|mount| mount.place == "/");
    let options = root.map_or_else(|| "no root mount".to_owned(), |root| root.options.join(","));
    let held = ["ro", "nosuid", "nodev"].iter().all(|wanted| options.split(',').any(|has| has == *wanted));
    Control::judged("root", "ro,nosuid,nodev", options, held)
}

/// Places that the boundary itself mounts writable: nothing in them outlives the sandbox, and the
/// sandbox's user may write into none of them but /dev/pts.
const OWN: [&str; 3] = ["/proc", "/dev", "/dev/pts"];

/// Every mount is read-only but those named, and those honour neither set-id bits nor devices.
fn only_these_are_writable(expected: &Expected, mounts: &[Mount<'_>]) -> Control {
    let wrong: Vec<String> = mounts
        .iter()
        .filter(|mount| !mount.options.contains(&"ro"))
        .filter(|mount| {
            let place = mount.place;
            if is_device(place) || MASKED_PATHS.contains(&place) {
                return false; // a device file bound over a file
            }
            let named = expected.writable.iter().any(|writable| writable == place);
            let guarded = mount.options.contains(&"nosuid")
                && (mount.options.contains(&"nodev") || OWN.contains(&place));
            !(guarded && (named || OWN.contains(&place)))
        })
        .map(|mount| format!("{} ({})", mount.place, mount.options.join(",")))
        .collect();
    let wanted = expected.writable.join(", ");
    let shown = match (mounts.is_empty(), wrong.is_empty()) {
        (true, _) => "no mounts to read".to_owned(),
        (false, true) => wanted.clone(),
        (false, false) => wrong.join("; "),
    };
    Control::exact("mounts.writable", wanted, shown)
}

fn is_device(place: &str) -> bool {
    place.strip_prefix("/dev/").is_some_and(|name| DEVICES.contains(&name))
}

/// Every path that must be hidden and that this kernel has is covered by a mount.
fn masked(mounts: &[Mount<'_>]) -> Control {
    let places: Vec<&str> = mounts.iter().map(|mount| mount.place).collect();
    let bare: Vec<&str> = MASKED_PATHS
        .iter()
        .copied()
        .filter(|path| std::path::Path::new(path).exists() && !places.contains(path))
        .collect();
    let shown = if bare.is_empty() { "all".to_owned() } else { format!("not {}", bare.join(", ")) };
    Control::exact("paths.masked", "all", shown)
}
