//! The smallest guest there is: three instructions at the reset vector, in real mode.

use std::ffi::{c_int, c_ulong};
use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::ptr::{NonNull, null_mut};

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

// linux/kvm.h, all of version 12 of the interface, which every kernel since 2.6.22 has.
const KVM_GET_API_VERSION: c_ulong = 0xAE00;
const KVM_CREATE_VM: c_ulong = 0xAE01;
const KVM_GET_VCPU_MMAP_SIZE: c_ulong = 0xAE04;
const KVM_CREATE_VCPU: c_ulong = 0xAE41;
const KVM_SET_USER_MEMORY_REGION: c_ulong = 0x4020_AE46;
const KVM_RUN: c_ulong = 0xAE80;
const API_VERSION: c_int = 12;

/// Offset of `exit_reason` in `struct kvm_run`.
const EXIT_REASON: usize = 8;
/// Offset in `struct kvm_run` of the union that says more; of `io`, it is direction, size and port.
const EXIT_DETAIL: usize = 32;
const KVM_EXIT_IO: u32 = 2;
const KVM_EXIT_HLT: u32 = 5;

const PAGE: usize = 4096;
/// The page in which a processor begins after reset, and the place in it.
const RESET_PAGE: u64 = 0xFFFF_F000;
const RESET_OFFSET: usize = 0xFF0;
/// `mov al, 42; out 0x10, al; hlt`.
const PROGRAM: [u8; 5] = [0xB0, 42, 0xE6, 0x10, 0xF4];
const PORT: u16 = 0x10;

#[repr(C)]
struct UserMemoryRegion {
    slot: u32,
    flags: u32,
    guest_phys_addr: u64,
    memory_size: u64,
    userspace_addr: u64,
}

/// Opens the device.
pub(super) fn open() -> Result<File, Errno> {
    let opened = OpenOptions::new().read(true).write(true).open("/dev/kvm");
    opened.map_err(|why| why.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error))
}

/// Makes a machine, and runs the program to its end.
pub(super) fn run(device: &File) -> Result<(), String> {
    // SAFETY: these four take a number or nothing, and read or write no memory of ours.
    let (version, machine, run_size) = unsafe {
        (
            call(device.as_raw_fd(), KVM_GET_API_VERSION, 0, "KVM_GET_API_VERSION")?,
            new_descriptor(device.as_raw_fd(), KVM_CREATE_VM, "KVM_CREATE_VM")?,
            call(device.as_raw_fd(), KVM_GET_VCPU_MMAP_SIZE, 0, "KVM_GET_VCPU_MMAP_SIZE")?,
        )
    };
    if version != API_VERSION {
        return Err(format!("its interface has version {version}, not {API_VERSION}"));
    }
    // SAFETY: as above.
    let processor = unsafe { new_descriptor(machine.as_raw_fd(), KVM_CREATE_VCPU, "KVM_CREATE_VCPU")? };
    let memory = Mapping::anonymous()?;
    memory.write(RESET_OFFSET, &PROGRAM);
    let region = UserMemoryRegion {
        slot: 0,
        flags: 0,
        guest_phys_addr: RESET_PAGE,
        memory_size: PAGE as u64,
        userspace_addr: memory.start.as_ptr() as u64,
    };
    // SAFETY: the kernel reads one such structure, which lives until the call returns; the memory that
    // it names is declared before the mapping of the processor's state and outlives every KVM_RUN.
    unsafe {
        let address = std::ptr::from_ref(&region) as c_ulong;
        call(machine.as_raw_fd(), KVM_SET_USER_MEMORY_REGION, address, "KVM_SET_USER_MEMORY_REGION")?;
    }
    let size = usize::try_from(run_size).ok().filter(|size| *size >= PAGE).ok_or("no room for kvm_run")?;
    let state = Mapping::of(&processor, size)?;
    step(&processor, &state, KVM_EXIT_IO)?;
    let port = u16::from_ne_bytes([state.read(EXIT_DETAIL + 2), state.read(EXIT_DETAIL + 3)]);
    if port != PORT {
        return Err(format!("the guest wrote to port {port:#x}, not {PORT:#x}"));
    }
    step(&processor, &state, KVM_EXIT_HLT)
}

/// Lets the guest run until it leaves, which must be for this reason.
fn step(processor: &OwnedFd, state: &Mapping, reason: u32) -> Result<(), String> {
    // SAFETY: takes no argument; the kernel writes to `state`, which is mapped.
    unsafe { call(processor.as_raw_fd(), KVM_RUN, 0, "KVM_RUN")? };
    let bytes = [0, 1, 2, 3].map(|byte| state.read(EXIT_REASON + byte));
    let seen = u32::from_ne_bytes(bytes);
    if seen == reason { Ok(()) } else { Err(format!("the guest left with reason {seen}, not {reason}")) }
}

/// # Safety
/// `argument` is what the request wants: a number, or the address of its structure.
unsafe fn call(descriptor: c_int, request: c_ulong, argument: c_ulong, name: &str) -> Result<c_int, String> {
    loop {
        // SAFETY: by the contract of this function.
        let result = unsafe { libc::ioctl(descriptor, request, argument) };
        if result >= 0 {
            return Ok(result);
        }
        let why = std::io::Error::last_os_error();
        if why.kind() != std::io::ErrorKind::Interrupted {
            return Err(format!("{name}: {why}"));
        }
    }
}

/// # Safety
/// The request takes a number and returns a new descriptor.
unsafe fn new_descriptor(descriptor: c_int, request: c_ulong, name: &str) -> Result<OwnedFd, String> {
    // SAFETY: by the contract of this function.
    unsafe { call(descriptor, request, 0, name).map(|new| OwnedFd::from_raw_fd(new)) }
}

/// Memory that is unmapped when dropped. Another party, the guest or the kernel, changes it: it is read
/// and written byte by byte, as volatile.
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

impl Mapping {
    fn anonymous() -> Result<Self, String> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let start = unsafe { mmap_anonymous(null_mut(), PAGE, access, MapFlags::SHARED) };
        Self::new(start.map_err(|why| format!("map guest memory: {why}"))?.cast(), PAGE)
    }

    fn of(processor: &OwnedFd, length: usize) -> Result<Self, String> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: as above.
        let start = unsafe { mmap(null_mut(), length, access, MapFlags::SHARED, processor, 0) };
        Self::new(start.map_err(|why| format!("map the processor's state: {why}"))?.cast(), length)
    }

    fn new(start: *mut u8, length: usize) -> Result<Self, String> {
        NonNull::new(start).map(|start| Self { start, length }).ok_or_else(|| "mapped at address 0".into())
    }

    fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= self.length, "inside the mapping");
        for (index, byte) in bytes.iter().enumerate() {
            // SAFETY: inside the mapping, see above.
            unsafe { self.start.add(offset + index).write_volatile(*byte) };
        }
    }

    fn read(&self, offset: usize) -> u8 {
        assert!(offset < self.length, "inside the mapping");
        // SAFETY: inside the mapping, see above.
        unsafe { self.start.add(offset).read_volatile() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it is ours, and nothing points into it any more. A failure leaves it mapped.
        unsafe { munmap(self.start.as_ptr().cast(), self.length) }.ok();
    }
}
