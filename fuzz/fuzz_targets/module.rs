//! Hostile files for the loader of modules: each is compiled or refused with a reason.

#![no_main]

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use agentkernel_wasm::{MachineCode, is_module, module_file};
use rustix::fs::{MemfdFlags, memfd_create};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut file = File::from(memfd_create("module", MemfdFlags::CLOEXEC).expect("memory"));
    file.write_all(data).expect("written");
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    assert_eq!(is_module(&path), data.starts_with(b"\0asm"));
    let module = module_file(&path).expect("a file");
    match MachineCode::load(&module, None) {
        Ok(code) => assert!(!code.code().is_empty()),
        Err(why) => assert!(!why.why.is_empty()),
    }
});
