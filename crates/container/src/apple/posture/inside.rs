//! What the guest's kernel says of the sandbox, as our agent reports it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use agentkernel_cgroup::mountinfo::MountLine;
use agentkernel_core::{Access, Control, SandboxSpec};
use agentkernel_hardening::limits::rlimits;

use crate::inside::places_in_memory;
use crate::plan::shm_bytes;
use crate::posture::PRIVILEGES;

/// Interfaces that a kernel makes in every network namespace, without a way out: a loopback, and the ends of tunnels that
/// nobody has dug.
const HARMLESS: [&str; 11] = [
    "lo", "sit0", "tunl0", "ip6tnl0", "gre0", "gretap0", "erspan0", "ip6gre0", "ip_vti0", "ip6_vti0",
    "dummy0",
];

/// File systems that are the kernel's own: nothing can be kept in one by an ordinary user.
const KERNELS: [&str; 9] =
    ["proc", "sysfs", "devtmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "securityfs", "debugfs"];

/// Pages of text by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Report(BTreeMap<String, String>);

impl Report {
    /// Reads `NAME LENGTH`, a newline and so many bytes, as often as there are; an error says that it is something else.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let garbled = || "what the guest agent reports is garbled".to_owned();
        let (mut rest, mut pages) = (bytes, BTreeMap::new());
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == b'\n').ok_or_else(garbled)?;
            let line = std::str::from_utf8(&rest[..end]).map_err(|_| garbled())?;
            let (name, length) = line.split_once(' ').ok_or_else(garbled)?;
            let length = length.parse().map_err(|_| garbled())?;
            let (page, others) = rest[end + 1..].split_at_checked(length).ok_or_else(garbled)?;
            pages.insert(name.to_owned(), String::from_utf8_lossy(page).into_owned());
            rest = others;
        }
        Ok(Self(pages))
    }

    fn page(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Every control that can be seen from there.
    pub(super) fn controls(&self, spec: &SandboxSpec) -> Vec<Control> {
        let mut controls = self.first_process(spec);
        controls.extend(self.limits(spec));
        controls.extend(self.mounts(spec));
        controls.push(self.network());
        controls
    }

    /// The agent itself, of which everything else in the sandbox descends.
    fn first_process(&self, spec: &SandboxSpec) -> Vec<Control> {
        let field = |name: &str| {
            let lines = self.page("status").lines();
            let found = lines.filter_map(|line| line.split_once(':')).find(|(field, _)| *field == name);
            found.map_or("missing".to_owned(), |(_, value)| {
                value.split_whitespace().collect::<Vec<_>>().join(" ")
            })
        };
        let four = |id: u32| format!("{id} {id} {id} {id}");
        let (uid, gid) = (four(spec.user().uid), four(spec.user().gid));
        let ids = [("user.uid", "Uid", &*uid), ("user.gid", "Gid", &gid)];
        let controls = ids
            .into_iter()
            .chain(PRIVILEGES)
            .map(|(name, of, expected)| Control::exact(&named(name), expected, field(of)));
        let groups = field("Groups");
        let has_no_other = groups.is_empty() || groups == spec.user().gid.to_string();
        let groups = Control::judged(&named("user.groups"), "no other", groups, has_no_other);
        controls.chain([groups]).collect()
    }

    fn limits(&self, spec: &SandboxSpec) -> Vec<Control> {
        let pids = spec.limits().pids.value().map(|pids| ("nproc", u64::from(pids), u64::from(pids)));
        let control = |(name, soft, hard): (&str, u64, u64)| {
            let label = match name {
                "nofile" => "Max open files",
                "core" => "Max core file size",
                "memlock" => "Max locked memory",
                "fsize" => "Max file size",
                "sigpending" => "Max pending signals",
                _ => "Max processes",
            };
            let line =
                self.page("limits").lines().find_map(|line| line.strip_prefix(label)).unwrap_or("missing");
            let mut words = line.split_whitespace();
            let (actual_soft, actual) =
                (words.next().unwrap_or("missing"), words.next().unwrap_or("missing"));
            // Runtimes raise the soft limit of open files for themselves, and it stays so for a program beside the first
            // process; nobody raises the hard one.
            let shown = |soft: &str, hard: &str| {
                if name == "nofile" { hard.to_owned() } else { format!("{soft} {hard}") }
            };
            let expected = shown(&soft.to_string(), &hard.to_string());
            Control::exact(&named(&format!("rlimit.{name}")), expected, shown(actual_soft, actual))
        };
        rlimits(spec.limits()).into_iter().chain(pids).map(control).collect()
    }

    fn mounts(&self, spec: &SandboxSpec) -> Vec<Control> {
        let mounts = MountLine::all(self.page("mounts"));
        let disk = spec.limits().disk.get();
        let mut controls = vec![root(&mounts), writable(spec, &mounts)];
        controls.push(tmpfs("/dev/shm", shm_bytes(spec.limits()), &mounts));
        controls.extend(places_in_memory(spec).into_iter().map(|place| tmpfs(place, disk, &mounts)));
        controls
    }

    fn network(&self) -> Control {
        let lines = self.page("network").lines().skip(2).filter_map(|line| line.split_once(':'));
        let names: Vec<&str> = lines.map(|(name, _)| name.trim()).collect();
        let others: Vec<&str> = names.iter().copied().filter(|name| !HARMLESS.contains(name)).collect();
        let is_held = others.is_empty() && names.contains(&"lo");
        Control::judged(&named("network.interfaces"), "a loopback alone", names.join(" "), is_held)
    }
}

fn named(control: &str) -> String {
    format!("inside.{control}")
}

fn root(mounts: &[MountLine<'_>]) -> Control {
    let root = mounts.iter().rev().find(|mount| mount.place == "/");
    let shown = root.map_or("not mounted", |root| if root.has("ro") { "ro" } else { "rw" });
    Control::exact(&named("mount./"), "ro", shown)
}

/// Where something can be kept: in exactly these places, and in what is root's below `/dev` and `/sys`.
fn writable(spec: &SandboxSpec, mounts: &[MountLine<'_>]) -> Control {
    let named_places = spec.mounts().iter().filter(|mount| mount.access() == Access::ReadWrite);
    let named_places = named_places.map(|mount| mount.target().display().to_string());
    let expected: BTreeSet<String> = places_in_memory(spec)
        .into_iter()
        .chain(["/dev/shm"])
        .map(str::to_owned)
        .chain(named_places)
        .collect();
    let is_roots = |mount: &MountLine<'_>| {
        let place = Path::new(&mount.place);
        mount.kind == "tmpfs"
            && place != "/dev/shm"
            && (place.starts_with("/dev") || place.starts_with("/sys"))
    };
    let is_kept =
        |mount: &&MountLine<'_>| mount.has("rw") && !KERNELS.contains(&mount.kind) && !is_roots(mount);
    let actual: BTreeSet<String> = mounts.iter().filter(is_kept).map(|mount| mount.place.clone()).collect();
    let shown = |places: &BTreeSet<String>| places.iter().cloned().collect::<Vec<_>>().join(" ");
    Control::exact(&named("mounts.writable"), shown(&expected), shown(&actual))
}

fn tmpfs(place: &str, bytes: u64, mounts: &[MountLine<'_>]) -> Control {
    let actual =
        mounts.iter().rev().find(|mount| mount.place == place).map_or("not mounted".into(), |mount| {
            let size = mount.super_options.split(',').find(|option| option.starts_with("size="));
            format!("{} {}", mount.kind, size.unwrap_or("size=any"))
        });
    Control::exact(&named(&format!("mount.{place}")), format!("tmpfs size={}k", bytes / 1024), actual)
}

#[cfg(test)]
mod tests {
    use agentkernel_core::{Profile, SandboxSpec};

    use super::*;

    /// What a machine as planned would report.
    fn whole() -> BTreeMap<&'static str, String> {
        let status = "Name:\tagent\nUid:\t65532\t65532\t65532\t65532\nGid:\t65532\t65532\t65532\t65532\nGroups:\t65532 \n\
                      CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n\
                      CapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n";
        let limits = "Limit Soft Hard Units\nMax file size 1073741824 1073741824 bytes\nMax core file size 0 0 bytes\n\
                      Max processes 256 256 processes\nMax open files 1024 4096 files\n\
                      Max locked memory 65536 65536 bytes\nMax pending signals 4096 4096 signals\n";
        let mounts = "1 0 254:0 / / ro,relatime - ext4 /dev/vdb ro\n2 1 0:5 / /dev rw,nosuid - devtmpfs none rw\n\
                      3 2 0:6 / /dev/shm rw - tmpfs tmpfs rw,size=65536k\n4 1 0:7 / /sys rw - sysfs sysfs rw\n\
                      5 1 0:8 / /tmp rw - tmpfs tmpfs rw,size=1048576k\n6 1 0:9 / /workspace rw - tmpfs tmpfs rw,size=1048576k\n\
                      7 1 0:10 / /.agentkernel ro - virtiofs x ro\n";
        let network = "Inter-| Receive\n face |bytes\n    lo: 0 0\n  sit0: 0 0\n";
        [("status", status), ("limits", limits), ("mounts", mounts), ("network", network)]
            .map(|(name, text)| (name, text.to_owned()))
            .into()
    }

    fn broken(pages: &BTreeMap<&'static str, String>) -> Vec<String> {
        let bytes: String =
            pages.iter().map(|(name, text)| format!("{name} {}\n{text}", text.len())).collect();
        let spec = SandboxSpec::builder("test".parse().expect("a name"), Profile::Restrictive);
        let report = Report::parse(bytes.as_bytes()).expect("whole");
        let controls = report.controls(&spec.build().expect("valid"));
        controls.into_iter().filter(|control| !control.held).map(|control| control.name).collect()
    }

    #[test]
    fn a_machine_as_planned_holds_and_each_change_of_it_is_missed_by_name() {
        assert_eq!(broken(&whole()), Vec::<String>::new());
        for (page, was, is, control) in [
            ("status", "NoNewPrivs:\t1", "NoNewPrivs:\t0", "inside.no_new_privs"),
            ("status", "Seccomp:\t2", "Seccomp:\t0", "inside.seccomp.mode"),
            (
                "status",
                "CapBnd:\t0000000000000000",
                "CapBnd:\t00000000a80425fb",
                "inside.capabilities.bounding",
            ),
            ("status", "Uid:\t65532", "Uid:\t0", "inside.user.uid"),
            ("status", "Groups:\t65532 ", "Groups:\t0 ", "inside.user.groups"),
            ("limits", "processes 256 256", "processes unlimited unlimited", "inside.rlimit.nproc"),
            ("limits", "files 1024 4096", "files 1024 1048576", "inside.rlimit.nofile"),
            ("mounts", "/ / ro,relatime", "/ / rw,relatime", "inside.mount./"),
            (
                "mounts",
                "/tmp rw - tmpfs tmpfs rw,size=1048576k",
                "/tmp rw - tmpfs tmpfs rw",
                "inside.mount./tmp",
            ),
            (
                "mounts",
                "/.agentkernel ro - virtiofs",
                "/.agentkernel rw - virtiofs",
                "inside.mounts.writable",
            ),
            ("network", "sit0", "eth0", "inside.network.interfaces"),
        ] {
            let mut changed = whole();
            let text = changed.get_mut(page).expect("a page");
            assert!(text.contains(was), "{was}");
            *text = text.replace(was, is);
            assert!(broken(&changed).contains(&control.to_owned()), "{is}: {:?}", broken(&changed));
        }
    }

    #[test]
    fn what_is_not_told_does_not_hold() {
        for page in ["status", "limits", "mounts", "network"] {
            let mut pages = whole();
            pages.remove(page);
            assert!(!broken(&pages).is_empty(), "{page}");
        }
        for garbled in ["x", "x y\n", "x 5\nabc", "x -1\n", "x 18446744073709551615\n"] {
            assert!(Report::parse(garbled.as_bytes()).is_err(), "{garbled:?}");
        }
    }
}
