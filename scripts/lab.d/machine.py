"""QEMU's command line: pure data."""

# q35 boots as fast as microvm here, and unlike it boots every time.
BOARD = ["-M", "q35", "-accel", "tcg,thread=multi,tb-size=512", "-nodefaults", "-no-user-config"]
BOARD += ["-display", "none", "-no-reboot"]

PROCESSOR = "Nehalem"
# One that runs virtual machines, with all that the emulator needs for their sake.
PROCESSOR_WITH_KVM = "EPYC-v1,+svm,+npt,+nrip-save"

KERNEL_ARGUMENTS = [
    "console=ttyS0 quiet",
    "panic=-1",  # a panic ends QEMU
    "mitigations=off nokaslr no_timer_check",  # boots sooner
    # The processor's own clock is measured at boot: on a busy machine it once came out three times too fast.
    "clocksource=hpet",
    # The emulator translates code again wherever it appears at a new address: programs start three times as
    # fast if their addresses stay the same.
    "norandmaps",
]


def devices(initrd, disk, outputs):
    """The devices, on open descriptors: no file needs a name. All `outputs` but
    `console` are ports."""
    line = ["-initrd", path(initrd)]
    line += ["-fsdev", "local,id=real,path=/,security_model=none,readonly=on,multidevs=remap"]
    line += ["-device", "virtio-9p-pci,fsdev=real,mount_tag=real", "-device", "virtio-rng-pci"]
    line += ["-blockdev", f"driver=file,node-name=scratch,filename={path(disk)},cache.no-flush=on"]
    line += ["-device", "virtio-blk-pci,drive=scratch"]
    line += ["-device", "virtio-serial-pci", "-serial", "chardev:console"]
    for name, fd in outputs.items():
        # Without `append` it would be truncated, which a pipe cannot be.
        line += ["-chardev", f"file,id={name},path={path(fd)},append=on"]
        if name != "console":
            line += ["-device", f"virtserialport,chardev={name},name={name}"]
    return line


def path(fd):
    return f"/proc/self/fd/{fd}"


def command_line(asked, image, initrd, disk, outputs):
    """The arguments of QEMU for the machine that was asked for."""
    words = KERNEL_ARGUMENTS + (["cgroup_no_v1=all"] if asked.cgroup == "v2" else [])
    size = ["-smp", str(asked.cpus), "-m", asked.memory]
    processor = ["-cpu", PROCESSOR_WITH_KVM if asked.kvm else PROCESSOR]
    kernel = ["-kernel", image, "-append", " ".join(words)]
    return [*BOARD, *processor, *size, *kernel, *devices(initrd, disk, outputs)]
