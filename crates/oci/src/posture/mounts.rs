//! Controls that are read from the mounts of a sandbox: each is planned, and as it was planned.

use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use agentkernel_core::Control;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, openat, statx};

use super::Expected;
use super::planned::{PlannedBind, describe};
use crate::bundle::{DEVICE_NUMBERS, DEVICES, MASKED_PATHS, READ_ONLY_PATHS, ROOTFS, WRITABLE};
use crate::engine::Engine;
use crate::mountinfo::MountLine;
use crate::sys;

/// The mounts of a live sandbox, each with what it was planned as.
struct Found<'a> {
    init: i32,
    lines: &'a [MountLine<'a>],
    /// Nothing has run in it yet.
    at_start: bool,
    /// With their plan.
    binds: Vec<(&'a MountLine<'a>, &'a PlannedBind)>,
    /// At a place that the boundary itself uses.
    own: Vec<&'a MountLine<'a>>,
    /// At no place of the plan, or at one for the second time.
    foreign: Vec<&'a MountLine<'a>>,
}

/// All controls that are read from a sandbox's mounts.
pub(super) fn controls(
    expected: &Expected,
    init: i32,
    lines: &[MountLine<'_>],
    at_start: bool,
) -> Vec<Control> {
    let found = Found::sort(expected, init, lines, at_start, own_places(expected));
    let mut controls = found.own_mounts(expected);
    controls.extend([
        found.of_the_host("mounts.host", expected, Vec::new()),
        found.writable(expected),
        found.private(),
        found.devices(expected),
        found.masked(),
        found.read_only(),
    ]);
    controls
}

/// What gVisor's gofer can open: the sandbox's root, which can only be read, and in it what of the host was asked for.
pub(super) fn of_gofer(expected: &Expected, gofer: i32, lines: &[MountLine<'_>]) -> Control {
    // Mounts that are moved inside are moved in a kernel that the gofer knows nothing of.
    let found = Found::sort(expected, gofer, lines, true, vec!["/".to_owned()]);
    let root = found.own_at("/");
    let is_planned = |line: &MountLine<'_>| {
        (line.kind, &*line.root) == ("tmpfs", &*format!("/{ROOTFS}")) && line.has("ro")
    };
    let mut wrong: Vec<String> = match root {
        None => vec!["no root".to_owned()],
        Some(line) if is_planned(line) => Vec::new(),
        Some(line) => vec![format!("the root is {} of {}, {}", line.kind, line.root, line.options)],
    };
    let shared = lines.iter().filter(|line| !line.propagation.is_empty());
    wrong.extend(shared.map(|line| format!("{} is {}", line.place, line.propagation)));
    found.of_the_host("mounts.gofer", expected, wrong)
}

impl<'a> Found<'a> {
    fn sort(
        expected: &'a Expected,
        init: i32,
        lines: &'a [MountLine<'a>],
        at_start: bool,
        mut places: Vec<String>,
    ) -> Self {
        let mut found =
            Self { init, lines, at_start, binds: Vec::new(), own: Vec::new(), foreign: Vec::new() };
        let mut planned: Vec<&PlannedBind> = expected.mounts.binds.iter().collect();
        for line in lines {
            if let Some(index) = planned.iter().position(|bind| found.is(line, bind)) {
                found.binds.push((line, planned.swap_remove(index)));
            } else if let Some(index) = places.iter().position(|place| *place == line.place) {
                places.swap_remove(index);
                found.own.push(line);
            } else {
                found.foreign.push(line);
            }
        }
        found
    }

    /// Whether a mount is a planned one. A place that the image's links lead to elsewhere is shown as where they lead;
    /// and in the folders that it may write to, the sandbox can rename what a place is in, once it runs.
    fn is(&self, line: &MountLine<'_>, bind: &PlannedBind) -> bool {
        let movable = |place: &str| {
            !self.at_start && WRITABLE.iter().any(|folder| Path::new(place).starts_with(folder))
        };
        line.device == bind.device
            && line.root == bind.root
            && (line.place == bind.place
                || movable(&line.place) && movable(&bind.place)
                || mount_at(self.init, &bind.place) == Some(line.id))
    }

    fn own_at(&self, place: &str) -> Option<&'a MountLine<'a>> {
        self.own.iter().copied().find(|line| line.place == place)
    }

    /// The root and the kernel's own file systems: each is of its kind, flags, size, mode and owner.
    fn own_mounts(&self, expected: &Expected) -> Vec<Control> {
        let control = |mount: &super::planned::OwnMount| {
            let actual = self.own_at(&mount.place);
            let actual =
                actual.map_or_else(|| "missing".to_owned(), |line| describe(line, expected.rootless));
            let name = if mount.place == "/" { "root".to_owned() } else { format!("mount.{}", mount.place) };
            Control::exact(&name, &*mount.is, actual)
        };
        expected.mounts.own.iter().map(control).collect()
    }

    /// What of the host is visible: that which was asked for, at its place and no more writable than asked for.
    /// `wrong` is what is wrong already.
    fn of_the_host(&self, name: &str, expected: &Expected, mut wrong: Vec<String>) -> Control {
        let planned = expected.mounts.binds.iter().filter(|bind| !bind.below);
        let wanted = planned.clone().map(shown).collect::<Vec<_>>().join(", ");
        let foreign = self.foreign.iter();
        wrong.extend(
            foreign.map(|line| format!("beside them {} ({} of {})", line.place, line.root, line.device)),
        );
        let weak = self.binds.iter().filter(|(line, bind)| {
            !line.has("nosuid") || !line.has("nodev") || bind.read_only && !line.has("ro")
        });
        wrong.extend(weak.map(|(line, _)| format!("{} is {}", line.place, line.options)));
        let is_found = |bind: &PlannedBind| self.binds.iter().any(|(_, found)| std::ptr::eq(*found, bind));
        wrong.extend(planned.filter(|bind| !is_found(bind)).map(|bind| format!("no {}", bind.place)));
        let shown = if wrong.is_empty() { wanted.clone() } else { wrong.join("; ") };
        Control::exact(name, wanted, shown)
    }

    /// Every mount is read-only but those that are planned otherwise, and those honour neither set-id bits nor devices.
    fn writable(&self, expected: &Expected) -> Control {
        let mut wanted: Vec<&str> =
            expected.mounts.own.iter().filter(|own| own.is.contains(" rw,")).map(|own| &*own.place).collect();
        let binds = expected.mounts.binds.iter().filter(|bind| !bind.read_only);
        wanted.extend(binds.clone().filter(|bind| !bind.below).map(|bind| &*bind.place));
        let may_be = |line: &MountLine<'_>| {
            let of_a_bind = self.binds.iter().any(|(bound, bind)| bound.id == line.id && !bind.read_only);
            let guarded = line.has("nosuid") && (line.has("nodev") || line.place == "/dev/pts");
            is_a_device(line) || guarded && (of_a_bind || wanted.contains(&&*line.place))
        };
        let wrong: Vec<String> = self
            .lines
            .iter()
            .filter(|line| !line.has("ro") && !may_be(line))
            .map(|line| format!("{} ({})", line.place, line.options))
            .collect();
        let wanted = wanted.join(", ");
        let shown = match (self.lines.is_empty(), wrong.is_empty()) {
            (true, _) => "no mounts to read".to_owned(),
            (false, true) => wanted.clone(),
            (false, false) => wrong.join("; "),
        };
        Control::exact("mounts.writable", wanted, shown)
    }

    /// No mount tells of its changes, or hears of those elsewhere.
    fn private(&self) -> Control {
        let shared: Vec<String> = self
            .lines
            .iter()
            .filter(|line| !line.propagation.is_empty())
            .map(|line| format!("{} ({})", line.place, line.propagation))
            .collect();
        Control::exact("mounts.private", "all", all_or("not", &shared))
    }

    /// Each device is the one of its name, and there is no other: /dev can only be read. runc mounts them as the host
    /// has them: a device can be neither executed nor set-id anyway.
    fn devices(&self, expected: &Expected) -> Control {
        let guarded = |line: &MountLine<'_>| {
            expected.engine == Some(Engine::Runc) || line.has("nosuid") && line.has("noexec")
        };
        let number = |name: &str| {
            let place = format!("/dev/{name}");
            let mount = self.own_at(&place).filter(|line| guarded(line));
            let path = format!("/proc/{}/root{place}", self.init);
            let facts = mount.and_then(|_| fs::symlink_metadata(path).ok());
            facts.map_or_else(
                || "missing".to_owned(),
                |facts| {
                    let device = facts.rdev();
                    format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device))
                },
            )
        };
        let wanted = DEVICES.iter().zip(DEVICE_NUMBERS).map(|(name, (major, minor))| {
            format!("{name} {major}:{}", minor.map_or_else(|| "*".to_owned(), |minor| minor.to_string()))
        });
        let actual = DEVICES.iter().map(|name| format!("{name} {}", number(name)));
        let join = |words: Vec<String>| words.join(", ");
        Control::exact("devices", join(wanted.collect()), join(actual.collect()))
    }

    /// Every path that must be hidden and that this kernel has is covered, by nothing or by an empty folder.
    fn masked(&self) -> Control {
        let null = self.own_at("/dev/null");
        let hides = |line: &MountLine<'_>| {
            let is_null = null.is_some_and(|null| (null.device, &null.root) == (line.device, &line.root));
            is_null || line.kind == "tmpfs" && line.has("ro")
        };
        let bare = MASKED_PATHS.iter().filter(|path| Path::new(path).exists());
        let bare = bare.filter(|path| !self.own_at(path).is_some_and(hides));
        Control::exact(
            "paths.masked",
            "all",
            all_or("not", &bare.map(|path| (*path).to_owned()).collect::<Vec<_>>()),
        )
    }

    /// Every path that must be read-only and that this kernel has is so.
    fn read_only(&self) -> Control {
        let open = READ_ONLY_PATHS.iter().filter(|path| Path::new(path).exists());
        let open = open.filter(|path| !self.own_at(path).is_some_and(|line| line.has("ro")));
        Control::exact(
            "paths.read_only",
            "all",
            all_or("not", &open.map(|path| (*path).to_owned()).collect::<Vec<_>>()),
        )
    }
}

fn all_or(what: &str, exceptions: &[String]) -> String {
    if exceptions.is_empty() { "all".to_owned() } else { format!("{what} {}", exceptions.join(", ")) }
}

fn shown(bind: &PlannedBind) -> String {
    if bind.read_only { bind.place.clone() } else { format!("{} (rw)", bind.place) }
}

/// Every place at which the boundary mounts something of its own, once.
fn own_places(expected: &Expected) -> Vec<String> {
    let mut places: Vec<String> = expected.mounts.own.iter().map(|own| own.place.clone()).collect();
    places.extend(DEVICES.iter().map(|name| format!("/dev/{name}")));
    let hidden_or_locked = MASKED_PATHS.iter().chain(READ_ONLY_PATHS).map(|path| (*path).to_owned());
    places.extend(hidden_or_locked.filter(|path| path != "/dev")); // which is mounted anyway
    places
}

fn is_a_device(line: &MountLine<'_>) -> bool {
    let name = line.place.strip_prefix("/dev/");
    name.is_some_and(|name| DEVICES.contains(&name)) || MASKED_PATHS.contains(&line.place.as_str())
}

/// The number of the mount that a path leads to inside, wherever links lead there.
fn mount_at(init: i32, place: &str) -> Option<u64> {
    let root =
        openat(CWD, format!("/proc/{init}/root"), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let found = sys::open_in_root(root.as_fd(), Path::new(place)).ok()?;
    Some(statx(found, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?.stx_mnt_id)
}

#[cfg(test)]
mod tests;
