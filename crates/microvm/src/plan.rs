//! What a VMM is asked to be, in its own words: pure functions.

pub mod firecracker;

use agentkernel_core::{BackendKind, SandboxName};

/// What the guest's stream is called, among the ports that its kernel lists.
pub const STREAM_PORT: &str = "agentkernel";

/// Where the guest finds its root.
pub const ROOT_DEVICE: &str = "/dev/vda";

/// The descriptors with which a VMM begins: it may not look where these lie, and needs no name of any.
pub const KERNEL_FD: u8 = 3;
/// The root device, likewise.
pub const ROOT_FD: u8 = 4;
/// The folder of its own, likewise: with the initramfs, and the sockets on which we wait for it.
pub const FOLDER_FD: u8 = 5;

/// A snapshot that it continues from, likewise.
pub const SNAPSHOT_FD: u8 = 6;

/// What is in the folder: everything that the guest begins with.
pub const INITRAMFS: &str = "initramfs";
/// Where we wait for the agent's stream.
pub const STREAM: &str = "stream";
/// Where we wait for the VMM's own words.
pub const CONTROL: &str = "control";

/// Memory of an emulator's translated code, MiB. The default grows to a gigabyte.
pub(crate) const TRANSLATION_MIB: u32 = 256;

/// The program that makes the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VmmKind {
    /// QEMU's `microvm`.
    Qemu,
    /// Firecracker.
    Firecracker,
}

impl VmmKind {
    /// The backend whose it is.
    #[must_use]
    pub fn backend(self) -> BackendKind {
        match self {
            Self::Qemu => BackendKind::Qemu,
            Self::Firecracker => BackendKind::Firecracker,
        }
    }

    /// Its program.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Qemu => "qemu-system-x86_64",
            Self::Firecracker => "firecracker",
        }
    }

    /// The files of a snapshot of its.
    #[must_use]
    pub fn snapshot_files(self) -> &'static [&'static str] {
        match self {
            Self::Qemu => &[firecracker::STATE],
            Self::Firecracker => &[firecracker::STATE, firecracker::MEMORY],
        }
    }
}

/// What executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor itself.
    Kvm,
    /// QEMU's emulator: a way to run, and no security boundary (QEMU's own docs/system/security.rst).
    Tcg,
}

/// What a machine begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// Its kernel.
    Boot,
    /// A snapshot of a machine of the same plan.
    Restore,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmPlan {
    /// In the process list, where a person looks for it.
    pub name: SandboxName,
    /// What makes it.
    pub vmm: VmmKind,
    /// Whether Firecracker's jailer locks it in.
    pub jailed: bool,
    /// What executes it.
    pub accelerator: Accelerator,
    /// Frequency of the host's time stamp counter, which an emulated guest sees too: kHz, if it is known.
    pub counter_khz: Option<u64>,
    /// Whether its snapshot leaves out memory that was never touched.
    pub sparse: bool,
    /// Whether its guest tells which memory is free, which is the host's again then.
    pub gives_back: bool,
    /// Memory of the guest, MiB.
    pub memory_mib: u64,
    /// Processors of the guest.
    pub processors: u32,
    /// The user as whom the VMM runs.
    pub user: u32,
    /// What it begins with.
    pub beginning: Beginning,
}

impl VmPlan {
    /// The words after the program's name.
    #[must_use]
    pub fn argv(&self) -> Vec<String> {
        match self.vmm {
            VmmKind::Qemu => self.qemu_argv(),
            VmmKind::Firecracker => firecracker::argv(self),
        }
    }

    fn qemu_argv(&self) -> Vec<String> {
        let mut words = self.machine();
        words.extend(match self.beginning {
            Beginning::Boot => self.boot(),
            // The kernel is in the snapshot, as all of its memory is.
            Beginning::Restore => words_of(&["-incoming", &format!("fd:{SNAPSHOT_FD}")]),
        });
        words.extend(self.devices());
        words.extend(Self::control());
        words
    }

    /// The board and its size.
    fn machine(&self) -> Vec<String> {
        let (accelerator, processor) = match self.accelerator {
            Accelerator::Kvm => ("kvm".to_owned(), "host"),
            // The processor that every program of an amd64 distribution runs on, and no feature that is dear to emulate.
            Accelerator::Tcg => (format!("tcg,thread=multi,tb-size={TRANSLATION_MIB}"), "Nehalem"),
        };
        words_of(&[
            "-name",
            self.name.as_str(),
            // Without a clock chip, boots hang; by ACPI the kernel finds its devices.
            "-M",
            "microvm,rtc=on,acpi=on",
            "-accel",
            &accelerator,
            "-cpu",
            processor,
            "-m",
            &format!("{}M", self.memory_mib),
            "-smp",
            &self.processors.to_string(),
            // No device, and no file of anybody's settings, but what is named here.
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            // The guest's end, or its panic, is the machine's.
            "-no-reboot",
            // The VMM may start nothing, and gain and change no right.
            "-sandbox",
            "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        ])
    }

    fn boot(&self) -> Vec<String> {
        let (kernel, initramfs) = (given(KERNEL_FD), in_folder(INITRAMFS));
        words_of(&["-kernel", &kernel, "-initrd", &initramfs, "-append", &self.kernel_arguments()])
    }

    /// What the kernel is told; behind `--` the words of its first program.
    fn kernel_arguments(&self) -> String {
        let mut arguments = vec![
            "console=ttyS0",
            "quiet",        // errors alone are told, such as that memory ran out
            "panic=-1",     // a panic ends the machine at once
            "rdinit=/init", // the agent
            "oops=panic",   // a kernel that has erred is trusted no further
        ];
        if self.vmm == VmmKind::Firecracker {
            // Its end is the reset by a keyboard controller, of which it has no more than that.
            arguments.extend(["reboot=k", "8250.nr_uarts=1", "i8042.noaux", "i8042.nomux", "i8042.dumbkbd"]);
        }
        if self.accelerator == Accelerator::Tcg {
            // The emulator is no boundary, and what defends against a processor's leaks only slows it. It translates code
            // anew at each address. Its counter is the host's own.
            arguments.extend(["mitigations=off", "norandmaps", "no_timer_check", "tsc=reliable"]);
        }
        let counter = self.counter_khz.filter(|_| self.accelerator == Accelerator::Tcg);
        // Measured on a busy host, it comes out wrong or not at all, and then the kernel hangs.
        let counter = counter.map(|khz| format!("tsc_early_khz={khz}"));
        arguments.extend(counter.as_deref());
        arguments.extend(["--", "machine"]);
        arguments.join(" ")
    }

    /// No network, no screen, no USB: a disk that cannot be written to, a port, a source of randomness, a balloon.
    fn devices(&self) -> Vec<String> {
        let file = format!(
            "driver=file,node-name=file,filename={},read-only=on,auto-read-only=off,locking=off",
            given(ROOT_FD)
        );
        let stream = format!("socket,id=stream,path={}", in_folder(STREAM));
        let mut words = words_of(&[
            // The devices' present form, which ACPI's table of them speaks of.
            "-global",
            "virtio-mmio.force-legacy=false",
            "-blockdev",
            &file,
            "-blockdev",
            "driver=raw,node-name=root,file=file,read-only=on",
            "-device",
            "virtio-blk-device,drive=root",
            // Two ports: the first is reserved for a console.
            "-device",
            "virtio-serial-device,max_ports=2",
            "-chardev",
            &stream,
            "-device",
            &format!("virtserialport,chardev=stream,nr=1,name={STREAM_PORT}"),
            // A guest without one waits for randomness, and two of one snapshot would share theirs.
            "-object",
            "rng-random,id=random,filename=/dev/urandom",
            "-device",
            "virtio-rng-device,rng=random",
        ]);
        if self.gives_back {
            words.extend(words_of(&["-device", "virtio-balloon-device,free-page-reporting=on"]));
        }
        words
    }

    /// Where the machine is controlled, and where its kernel complains.
    fn control() -> Vec<String> {
        let control = format!("socket,id=control,path={}", in_folder(CONTROL));
        words_of(&[
            "-chardev",
            &control,
            "-mon",
            "chardev=control,mode=control",
            "-chardev",
            "stdio,id=log,signal=off",
            "-serial",
            "chardev:log",
        ])
    }
}

/// The path of what it was given.
fn given(fd: u8) -> String {
    format!("/proc/self/fd/{fd}")
}

fn in_folder(name: &str) -> String {
    format!("{}/{name}", given(FOLDER_FD))
}

fn words_of(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests;
