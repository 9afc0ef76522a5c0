//! The first moments of a micro VM: from a kernel without a file system to the place that the host has described.
//!
//! The host puts a description into the initramfs beside this program: a line for each step, its words parted by tabs.
//! This program carries it out and decides nothing.

mod keeper;
mod renewal;
mod step;

use std::ffi::CString;
use std::fs::{self, DirEntry, File};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::event::{Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, makedev, mknodat, open, symlink};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind, mount_change, mount_move, mount_remount,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{Gid, Resource, Rlimit, Uid, chdir, chroot, setrlimit};
use rustix::system::{finit_module, sethostname};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};

use crate::confine::confine;
use crate::group::Group;
use crate::sys;
pub use keeper::Keeper;
pub use renewal::accept;
use step::Step;

/// What the host has written. The same path is in `agentkernel-microvm`'s layout.
const DESCRIPTION: &str = "/agentkernel/steps";

/// Where the kernel lists the ports of virtio-serial devices.
const PORTS: &str = "/sys/class/virtio-ports";

/// How long a device may take to appear once its driver is loaded: it is made by the kernel at once, and by an emulated
/// processor soon.
const DEVICE_WAIT_NS: u64 = 20_000_000_000;

/// How long to wait before a device is looked for again.
const DEVICE_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// What a machine has, once it is made.
pub struct Machine {
    /// Leads to the host.
    pub stream: OwnedFd,
    /// Where the host calls again when its machine was kept, if it is the host who calls.
    pub listener: Option<OwnedFd>,
    /// The control group of commands.
    pub group: Option<Group>,
    /// Renews it once it is in use.
    pub keeper: Option<Keeper>,
}

/// Carries the description out. An error says which step failed, and why.
pub fn become_machine() -> Result<Machine, String> {
    let text = fs::read_to_string(DESCRIPTION).map_err(|error| format!("{DESCRIPTION}: {error}"))?;
    let (mut stream, mut listener, mut group, mut keeper) = (None, None, None, None);
    for line in text.lines() {
        let failed = |why: String| format!("{}: {why}", line.replace('\t', " "));
        let step = Step::parse(line).map_err(failed)?;
        let done = match step {
            Step::Listen(port) => sys::listen_vsock(port)
                .map(|opened| listener = Some(opened))
                .map_err(|error| sys::errno_of(&error)),
            Step::Renew => {
                let renewed = match (stream.take(), &listener) {
                    (Some(stream), _) => renewal::take(&stream).map(|()| stream),
                    (None, Some(listener)) => renewal::take_of_a_caller(listener),
                    (None, None) => Err("there is no stream yet".into()),
                };
                stream = Some(renewed.map_err(failed)?);
                keeper = Some(Keeper::start().map_err(failed)?);
                Ok(())
            }
            Step::Stream(name) => open_port(name).map(|port| stream = Some(port)),
            Step::Group(path) => Group::open(path).map(|opened| group = Some(opened)),
            step => carry_out(&step),
        };
        done.map_err(|errno| failed(errno.to_string()))?;
    }
    let stream = stream.ok_or_else(|| format!("{DESCRIPTION}: it names no stream"))?;
    Ok(Machine { stream, listener, group, keeper })
}

fn carry_out(step: &Step<'_>) -> rustix::io::Result<()> {
    match *step {
        Step::Module(path) => load(path),
        Step::Folder(mode, path) => folder(path, mode),
        Step::Link(target, path) => symlink(target, path),
        Step::Device(path, major, minor) => device(path, major, minor),
        Step::Mount { source, target, fstype, flags, data } => mount_at(source, target, fstype, flags, data),
        Step::Await(path) => open_device(path).map(drop),
        Step::Hide(path) => hide(path),
        Step::Fix(path) => fix(path),
        Step::Write(path, text) => fs::write(path, text).map_err(|error| sys::errno_of(&error)),
        Step::Root(path) => enter_root(path),
        Step::Hostname(name) => sethostname(name.as_bytes()),
        Step::Loopback => loopback(),
        Step::Rlimit(name, soft, hard) => limit(name, soft, hard),
        Step::User(uid, gid) => become_user(uid, gid),
        Step::Filters(path) => confine(Path::new(path)).map_err(|error| sys::errno_of(&error)),
        Step::Fill(path, hex) => renewal::fill(path, hex),
        Step::Entropy(hex) => renewal::stir(hex),
        Step::Clock(seconds, nanoseconds) => renewal::set_clock(seconds, nanoseconds),
        // The caller's, who has the stream.
        Step::Stream(_) | Step::Listen(_) | Step::Group(_) | Step::Renew => Ok(()),
    }
}

/// One that is there already, or that the kernel has built in, is loaded.
fn load(path: &str) -> rustix::io::Result<()> {
    let file = File::open(path).map_err(|error| sys::errno_of(&error))?;
    match finit_module(&file, c"", 0) {
        Err(Errno::EXIST) => Ok(()),
        loaded => loaded,
    }
}

fn folder(path: &str, mode: u32) -> rustix::io::Result<()> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => rustix::fs::chmod(path, Mode::from_raw_mode(mode)),
        Err(errno) => Err(errno),
    }
}

/// A character device that everybody may use.
fn device(path: &str, major: u32, minor: u32) -> rustix::io::Result<()> {
    let mode = Mode::from_raw_mode(0o666);
    mknodat(rustix::fs::CWD, path, FileType::CharacterDevice, mode, makedev(major, minor))?;
    rustix::fs::chmod(path, mode) // the umask has taken some of it
}

fn mount_at(source: &str, target: &str, fstype: &str, flags: u32, data: &str) -> rustix::io::Result<()> {
    let data = CString::new(data).map_err(|_| Errno::INVAL)?;
    mount(source, target, fstype, MountFlags::from_bits_retain(flags), Some(data.as_c_str()))
}

/// Opens a device, which its driver may still be making.
fn open_device(path: &str) -> rustix::io::Result<OwnedFd> {
    patiently(|| open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()))
}

/// Opens the port that the host has given this name, and that the kernel numbers as it likes.
fn open_port(name: &str) -> rustix::io::Result<OwnedFd> {
    patiently(|| {
        let ports = fs::read_dir(PORTS).map_err(|error| sys::errno_of(&error))?.flatten();
        let is_it =
            |port: &DirEntry| fs::read_to_string(port.path().join("name")).is_ok_and(|of| of.trim() == name);
        let port = ports.into_iter().find(is_it).ok_or(Errno::NOENT)?;
        let path = Path::new("/dev").join(port.file_name());
        open(path, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())
    })
}

/// Asks again while what is asked for is not there.
fn patiently(ask: impl Fn() -> rustix::io::Result<OwnedFd>) -> rustix::io::Result<OwnedFd> {
    let until_ns = sys::monotonic_ns().saturating_add(DEVICE_WAIT_NS);
    loop {
        match ask() {
            Err(Errno::NOENT | Errno::NXIO | Errno::NODEV) if sys::monotonic_ns() < until_ns => {
                poll(&mut [], Some(&DEVICE_PAUSE)).ok();
            }
            opened => return opened,
        }
    }
}

/// Covers what may not be seen: a file by an empty one, a folder by an empty one. What is not there need not be hidden.
fn hide(path: &str) -> rustix::io::Result<()> {
    match fs::metadata(path) {
        Ok(facts) if facts.is_dir() => {
            let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            mount("none", path, "tmpfs", flags, Some(c"size=0,nr_inodes=2,mode=555"))
        }
        Ok(_) => mount_bind("/dev/null", path),
        Err(_) => Ok(()),
    }
}

/// Makes a place read-only, with all that is its own.
fn fix(path: &str) -> rustix::io::Result<()> {
    if fs::metadata(path).is_err() {
        return Ok(());
    }
    mount_bind(path, path)?;
    let flags =
        MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount_remount(path, flags, c"")
}

/// Makes a folder the root of everything: the kernel's first file system cannot be left by `pivot_root`, only covered.
fn enter_root(path: &str) -> rustix::io::Result<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).ok();
    chdir(path)?;
    mount_move(".", "/")?;
    chroot(".")?;
    chdir("/")
}

/// Brings the loopback up, so that programs inside can talk to each other; there is no other interface.
fn loopback() -> rustix::io::Result<()> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    sys::interface_up(&socket, b"lo").map_err(|error| sys::errno_of(&error))
}

fn limit(name: &str, soft: u64, hard: u64) -> rustix::io::Result<()> {
    let resource = match name {
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "core" => Resource::Core,
        "memlock" => Resource::Memlock,
        "fsize" => Resource::Fsize,
        "sigpending" => Resource::Sigpending,
        _ => return Err(Errno::INVAL),
    };
    setrlimit(resource, Rlimit { current: Some(soft), maximum: Some(hard) })
}

/// Nothing from here on has a right of root's, or gets one.
fn become_user(uid: u32, gid: u32) -> rustix::io::Result<()> {
    for capability in 0..u64::BITS {
        if sys::raw::forgo_capability(capability).is_err() {
            break; // beyond the last one that this kernel knows
        }
    }
    set_thread_groups(&[])?;
    set_thread_gid(Gid::from_raw(gid))?;
    set_thread_uid(Uid::from_raw(uid))
}
