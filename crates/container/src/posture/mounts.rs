//! What is mounted in a container, and how.

use std::collections::BTreeSet;
use std::path::Path;

use agentkernel_cgroup::mountinfo::MountLine;
use agentkernel_core::{Access, Control, SandboxSpec};

use super::process::read;
use crate::inside::places_in_memory;
use crate::plan;

/// File systems of the container's own that can be written to, beside its places in memory; the kernel's own say themselves
/// what of them can.
const WRITABLE: [&str; 4] = ["/proc", "/dev", "/dev/pts", "/dev/shm"];

pub(super) fn controls(spec: &SandboxSpec, init: i32) -> Vec<Control> {
    let mountinfo = read(init, "mountinfo");
    let mounts = visible(&mountinfo);
    let mut controls = vec![writable(spec, &mounts)];
    let disk = spec.limits().disk.get();
    controls.push(tmpfs("/dev/shm", plan::shm_bytes(spec.limits()), &mounts));
    controls.extend(places_in_memory(spec).into_iter().map(|place| tmpfs(place, disk, &mounts)));
    controls.push(hidden(&mounts));
    controls
}

/// Those that another one does not cover.
fn visible(mountinfo: &str) -> Vec<MountLine<'_>> {
    let mut mounts: Vec<MountLine<'_>> = Vec::new();
    for mount in MountLine::all(mountinfo) {
        if mount.place != "/" {
            mounts.retain(|earlier| !Path::new(&earlier.place).starts_with(&mount.place));
        }
        mounts.push(mount);
    }
    mounts
}

/// Where something can be written to: in exactly these places.
fn writable(spec: &SandboxSpec, mounts: &[MountLine<'_>]) -> Control {
    let named = spec.mounts().iter().filter(|mount| mount.access() == Access::ReadWrite);
    let named = named.map(|mount| mount.target().display().to_string());
    let expected: BTreeSet<String> =
        WRITABLE.into_iter().chain(places_in_memory(spec)).map(str::to_owned).chain(named).collect();
    let actual: BTreeSet<String> = mounts
        .iter()
        .filter(|mount| mount.has("rw") && !is_null(mount) && !is_device(mount))
        .map(|mount| mount.place.clone())
        .collect();
    let shown = |places: &BTreeSet<String>| places.iter().cloned().collect::<Vec<_>>().join(" ");
    Control::exact("mounts.writable", shown(&expected), shown(&actual))
}

/// Devices that every container has.
const DEVICES: [&str; 6] = ["/full", "/null", "/random", "/tty", "/urandom", "/zero"];

/// Whether it is `/dev/null`, by which runtimes hide a file: the container's own, or the host's in a user namespace, where
/// nobody can make a device.
fn is_null(mount: &MountLine<'_>) -> bool {
    ["tmpfs", "devtmpfs"].contains(&mount.kind) && mount.root == "/null"
}

/// Whether it is a device of the host at its own place, as in a user namespace.
fn is_device(mount: &MountLine<'_>) -> bool {
    mount.kind == "devtmpfs"
        && DEVICES.contains(&&*mount.root)
        && mount.place.strip_prefix("/dev") == Some(&*mount.root)
}

fn tmpfs(place: &str, bytes: u64, mounts: &[MountLine<'_>]) -> Control {
    // The kernel keeps whole pages, and shows KiB.
    let expected = format!("tmpfs nosuid nodev size={}k", bytes.div_ceil(4096) * 4);
    let actual = mounts.iter().find(|mount| mount.place == place).map_or("not mounted".into(), |mount| {
        let has = |option: &str| if mount.has(option) { format!("{option} ") } else { String::new() };
        let size = mount.super_options.split(',').find(|option| option.starts_with("size="));
        format!("{} {}{}{}", mount.kind, has("nosuid"), has("nodev"), size.unwrap_or("size=any"))
    });
    Control::exact(&format!("mount.{place}"), expected, actual)
}

/// Whether all that is to be hidden or not to be written to, and that this kernel has, is.
fn hidden(mounts: &[MountLine<'_>]) -> Control {
    let is_covered =
        |path: &str| mounts.iter().any(|mount| mount.place == path && (mount.has("ro") || is_null(mount)));
    let all = [plan::masked_paths(), plan::read_only_paths()].concat();
    let open: Vec<&str> =
        all.into_iter().filter(|path| Path::new(path).exists() && !is_covered(path)).collect();
    Control::exact("mounts.hidden", "", open.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_covered_does_not_count() {
        let mountinfo = "1 0 0:1 / / ro - overlay overlay rw\n\
                         2 1 0:2 / /sys rw - sysfs sysfs rw\n\
                         3 2 0:3 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                         4 2 0:4 / /sys ro - tmpfs tmpfs ro\n";
        let places: Vec<_> =
            visible(mountinfo).into_iter().map(|mount| (mount.place.clone(), mount.has("ro"))).collect();
        assert_eq!(places, [("/".to_owned(), true), ("/sys".to_owned(), true)]);
    }
}
