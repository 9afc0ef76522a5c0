//! What the guest finds and does before its first command: the steps of the agent, and the files of the sandbox itself.
//! A pure function of the description.

mod refusals;

use agentkernel_cgroup::{CPU_PERIOD_US, cpu_quota_us};
use agentkernel_core::{HostSocket, Image, Limits, SandboxSpec};
use agentkernel_hardening::limits::{SHM_BYTES, rlimits, tmpfs_inodes};
use agentkernel_hardening::{etc, lists};

use crate::plan::firecracker::PORT;
use crate::plan::{ROOT_DEVICE, STREAM_PORT, VmmKind};
pub use refusals::{Size, size};

/// Where the initramfs has the sandbox's own files: a layer above the root device.
pub const LAYER: &str = "layer";

/// Where the agent finds its filters of system calls, as it sees the root that it enters.
pub const FILTERS: &str = ".agentkernel/filters";

/// Where the agent is found by whoever has it rehearse a command, likewise.
pub const AGENT: &str = ".agentkernel/agent";

/// Where a machine's own id is (`machine-id(5)`).
const MACHINE_ID: &str = "etc/machine-id";

/// What the machine calls its boot, which covers what the kernel calls it: that is the same in all machines of one snapshot.
/// The same path is in the guest agent's `machine/renewal.rs`.
const BOOT_ID: &str = ".agentkernel/boot-id";

/// What is covered.
const KERNELS_BOOT_ID: &str = "proc/sys/kernel/random/boot_id";

/// Files that hold the machine's name.
const NAMED: [&str; 2] = ["etc/hostname", "etc/hosts"];

/// Where the root is built.
const NEW: &str = "/new";

/// Flags of `mount(2)`.
const RDONLY: u32 = 1;
const NOSUID: u32 = 2;
const NODEV: u32 = 4;
const NOEXEC: u32 = 8;
const REMOUNT: u32 = 32;
const BIND: u32 = 4096;

/// The device number of terminals' multiplexer is devpts' own; of the others, `devices.txt` of the kernel.
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Links in /dev that programs look for.
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

/// A file, folder or link of the layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Path from the root, and mode.
    Folder(String, u32),
    /// Path from the root, and content. Everybody reads it.
    File(String, Vec<u8>),
    /// Path from the root, and what it leads to.
    Link(String, String),
}

/// The files of this sandbox alone. Of the host's programs, `folders` are those beside /usr: links into it, as
/// [`agentkernel_hardening::layout::program_folders`] tells them.
#[must_use]
pub fn layer(spec: &SandboxSpec, folders: &[(String, String)]) -> Vec<Entry> {
    let folder = |(name, mode): &(&str, u32)| Entry::Folder((*name).to_owned(), *mode);
    let mut entries: Vec<Entry> = lists::OWN_FOLDERS.iter().map(folder).collect();
    let shown = HostSocket::SHOWN_FOLDER.trim_start_matches('/').to_owned();
    entries.push(Entry::Link(shown, HostSocket::FOLDER.into()));
    entries.push(Entry::Folder("etc".into(), 0o755));
    // The place, and nothing in it.
    entries.push(Entry::File(AGENT.into(), Vec::new()));
    entries.push(Entry::File(BOOT_ID.into(), Vec::new()));
    if *spec.image() == Image::Host {
        entries.push(Entry::Folder("usr".into(), 0o755));
        entries.extend(folders.iter().map(|(name, target)| Entry::Link(name.clone(), target.clone())));
        entries.extend(lists::EMPTY_FOLDERS.iter().map(folder));
        entries.push(Entry::Link("var/tmp".into(), "../tmp".into()));
        let files = etc::files(spec.user(), spec.hostname()).into_iter();
        entries.extend(
            files
                .filter(|(path, _)| !NAMED.contains(path))
                .map(|(path, text)| Entry::File(path.into(), text.into_bytes())),
        );
        entries.extend(etc::LINKS.map(|(path, target)| Entry::Link(path.into(), target.into())));
    }
    entries
}

/// The files of the layer that no other machine has, by their paths in the initramfs. They are written when the machine
/// becomes itself, by its host: a snapshot has none of them.
#[must_use]
pub fn own_files(spec: &SandboxSpec, machine_id: &str, boot_id: &str) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![(MACHINE_ID, format!("{machine_id}\n")), (BOOT_ID, format!("{boot_id}\n"))];
    if *spec.image() == Image::Host {
        let named = etc::files(spec.user(), spec.hostname()).into_iter();
        files.extend(named.filter(|(path, _)| NAMED.contains(path)));
    }
    files.into_iter().map(|(path, text)| (format!("/{LAYER}/{path}"), text.into_bytes())).collect()
}

/// What the agent does, a line for each step; `modules` are paths in the initramfs, in the order of loading.
#[must_use]
pub fn steps(spec: &SandboxSpec, modules: &[String], vmm: VmmKind) -> String {
    let mut steps = Steps::default();
    steps.mount("none", "/proc", "proc", NOSUID | NODEV | NOEXEC, "");
    steps.mount("none", "/sys", "sysfs", NOSUID | NODEV | NOEXEC, "");
    steps.mount("none", "/dev", "devtmpfs", NOSUID | NOEXEC, "");
    for module in modules {
        steps.say(&["module", module]);
    }
    steps.say(&["await", ROOT_DEVICE]);
    steps.root(spec);
    steps.mount("/init", &at(AGENT), "none", BIND, "");
    steps.places(spec);
    steps.kernel_files();
    steps.limits(spec.limits());
    steps.say(&["loopback"]);
    match vmm {
        VmmKind::Qemu => steps.say(&["stream", STREAM_PORT]),
        VmmKind::Firecracker => steps.say(&["listen", &PORT.to_string()]),
    }
    // Up to here all machines of one description are the same.
    steps.say(&["renew"]);
    steps.say(&["root", NEW]);
    // The limits of each process, once nothing more is to be read that could be too large.
    for (name, soft, hard) in rlimits(spec.limits()) {
        steps.say(&["rlimit", name, &soft.to_string(), &hard.to_string()]);
    }
    if let Some(pids) = spec.limits().pids.value() {
        // Nobody else is counted here: this kernel has one sandbox.
        steps.say(&["rlimit", "nproc", &pids.to_string(), &pids.to_string()]);
    }
    let user = spec.user();
    steps.say(&["user", &user.uid.to_string(), &user.gid.to_string()]);
    steps.say(&["filters", &format!("/{FILTERS}")]);
    steps.0
}

/// The lines.
#[derive(Default)]
struct Steps(String);

impl Steps {
    fn say(&mut self, words: &[&str]) {
        self.0.push_str(&words.join("\t"));
        self.0.push('\n');
    }

    fn mount(&mut self, source: &str, target: &str, fstype: &str, flags: u32, data: &str) {
        self.say(&["mount", source, target, fstype, &flags.to_string(), data]);
    }

    /// The layer above the device, and neither can be written to.
    fn root(&mut self, spec: &SandboxSpec) {
        if *spec.image() == Image::Host {
            self.mount(&format!("/{LAYER}"), NEW, "none", BIND, "");
            self.mount(ROOT_DEVICE, &format!("{NEW}/usr"), "ext4", RDONLY | NOSUID | NODEV, "");
            self.mount("none", NEW, "none", BIND | REMOUNT | RDONLY | NOSUID | NODEV, "");
        } else {
            self.mount(ROOT_DEVICE, "/image", "ext4", RDONLY | NOSUID | NODEV, "");
            let layers = format!("lowerdir=/{LAYER}:/image");
            self.mount("none", NEW, "overlay", RDONLY | NOSUID | NODEV, &layers);
        }
    }

    /// Everything that is not on a disk.
    fn places(&mut self, spec: &SandboxSpec) {
        let (disk, user) = (spec.limits().disk.get(), spec.user());
        let memory = |bytes: u64| format!("size={bytes},nr_inodes={}", tmpfs_inodes(bytes));
        // Of the processes that are the machine's and not the sandbox's, nothing is there for those who may not look into them
        // ("invisible" since Linux 5.8).
        self.mount("none", &at("proc"), "proc", NOSUID | NODEV | NOEXEC, "hidepid=2");
        self.mount("none", &at("dev"), "tmpfs", NOSUID | NOEXEC, "size=64k,mode=755");
        for (name, major, minor) in DEVICES {
            self.say(&["device", &at(&format!("dev/{name}")), &major.to_string(), &minor.to_string()]);
        }
        for (target, name) in DEVICE_LINKS {
            self.say(&["link", target, &at(&format!("dev/{name}"))]);
        }
        self.say(&["folder", "755", &at("dev/pts")]);
        // Group 5 is Debian's `tty`, as every runtime has it.
        self.mount(
            "none",
            &at("dev/pts"),
            "devpts",
            NOSUID | NOEXEC,
            "newinstance,ptmxmode=666,mode=620,gid=5",
        );
        self.say(&["folder", "1777", &at("dev/shm")]);
        let shm = format!("mode=1777,{}", memory(SHM_BYTES.min(disk)));
        self.mount("none", &at("dev/shm"), "tmpfs", NOSUID | NODEV, &shm);
        self.mount("none", &at("tmp"), "tmpfs", NOSUID | NODEV, &format!("mode=1777,{}", memory(disk)));
        let own = format!("mode=755,uid={},gid={},{}", user.uid, user.gid, memory(disk));
        self.mount("none", &at("workspace"), "tmpfs", NOSUID | NODEV, &own);
    }

    /// What says too much of the kernel, or changes it.
    fn kernel_files(&mut self) {
        for path in lists::MASKED_PATHS {
            self.say(&["hide", &format!("{NEW}{path}")]);
        }
        for path in lists::READ_ONLY_PATHS.iter().filter(|path| **path != "/dev") {
            self.say(&["fix", &format!("{NEW}{path}")]);
        }
        let kernels = at(KERNELS_BOOT_ID);
        self.mount(&format!("/{LAYER}/{BOOT_ID}"), &kernels, "none", BIND, "");
        self.mount("none", &kernels, "none", BIND | REMOUNT | RDONLY | NOSUID | NODEV | NOEXEC, "");
    }

    /// All that the agent starts is one group, and the agent is beside it: the kernel can kill no first process, so that
    /// one that wants memory where there is none waits for ever. Processes are counted above both, for whoever enters a
    /// group is not counted against its limit: the agent's commands would get round it.
    fn limits(&mut self, limits: &Limits) {
        const ALL: &str = "/groups/all";
        const AGENT: &str = "/groups/all/agent";
        const COMMANDS: &str = "/groups/all/commands";
        let mut files = Vec::new();
        files.extend(limits.memory.value().map(|memory| ("memory.max", memory.get().to_string())));
        files.extend(
            limits
                .cpus
                .value()
                .map(|cpus| ("cpu.max", format!("{} {CPU_PERIOD_US}", cpu_quota_us(cpus.as_milli().into())))),
        );
        // As on a host with memory enough: what is wanted is given, and who uses it beyond the limit is killed. The kernel's
        // guess would refuse a program's reserve, which is beyond a small machine's memory.
        self.say(&["write", "/proc/sys/vm/overcommit_memory", "1"]);
        self.mount("none", "/groups", "cgroup2", NOSUID | NODEV | NOEXEC, "");
        self.say(&["write", "/groups/cgroup.subtree_control", "+memory +pids +cpu"]);
        self.say(&["folder", "755", ALL]);
        if let Some(pids) = limits.pids.value() {
            self.say(&["write", &format!("{ALL}/pids.max"), &pids.to_string()]);
        }
        self.say(&["write", &format!("{ALL}/cgroup.subtree_control"), "+memory +cpu"]);
        self.say(&["folder", "755", AGENT]);
        self.say(&["folder", "755", COMMANDS]);
        for (name, value) in files {
            self.say(&["write", &format!("{COMMANDS}/{name}"), &value]);
        }
        self.say(&["write", &format!("{AGENT}/cgroup.procs"), "1"]);
        self.say(&["group", COMMANDS]);
    }
}

fn at(path: &str) -> String {
    format!("{NEW}/{path}")
}

#[cfg(test)]
mod tests;
