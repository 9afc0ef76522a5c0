//! The machine's crate by itself: the same files, the same snapshot and the same call, and nothing of ours between.

use std::fs::File;
use std::io::{BufReader, BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::Arc;

use agentkernel_core::ModuleFile;
use agentkernel_hypercalls::{CALL, digits, host};
use agentkernel_wasm::{IS_STILL, MODULE, MachineCode};
use hyperlight_host::sandbox::snapshot::Snapshot;
use hyperlight_unikraft::{AppSandbox, SandboxBuilder};

/// The program of machines that run Wasm modules, as the helper has it.
const GUEST_WASM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/agentkernel-guest-wasm"));

/// A machine that is restored and called.
pub struct Bare {
    machine: AppSandbox,
    snapshot: Arc<Snapshot>,
}

impl Bare {
    /// One of this module, with so much memory.
    pub fn new(file: &ModuleFile, memory_mib: usize) -> Self {
        let module = MachineCode::load(file, None).expect("compiled");
        let initrd = initrd(&module);
        let path = initrd.path().to_str().expect("text").to_owned();
        let mut builder =
            SandboxBuilder::from_initrd(path).entry("/agent calls").scratch_mb(memory_mib).echo_output(false);
        for name in [host::STARTED, host::STDOUT, host::STDERR, host::STDIN] {
            builder = builder.host_function(name, |_| Ok(String::new()));
        }
        let mut machine = builder.boot().expect("it boots");
        assert!(machine.has_driver());
        let snapshot = machine.snapshot().expect("taken");
        Self { machine, snapshot }
    }

    /// Restores it, and calls `add(40, 2)`.
    pub fn restore_and_call(&mut self) {
        self.machine.restore(Arc::clone(&self.snapshot)).expect("restored");
        let text = format!("{} i32:40 i32:2", digits(b"add"));
        assert_eq!(self.machine.call(CALL, &text).expect("called"), "returned i32:42");
    }

    /// Where the time of its calls has gone; empty unless HLUK_PROFILE is set, which costs some.
    pub fn profile(&self) -> String {
        self.machine.profile().report()
    }
}

fn initrd(module: &MachineCode) -> tempfile::NamedTempFile {
    let mut tar = tar::Builder::new(tempfile::tempfile().expect("a file"));
    let mut file = |place: &str, mode, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, Path::new(place), content).expect("added");
    };
    file("agent", 0o755, GUEST_WASM);
    file(MODULE, 0o444, module.code());
    if module.is_still() {
        file(IS_STILL, 0o444, &[]);
    }
    let mut tar: File = tar.into_inner().expect("whole");
    tar.seek(SeekFrom::Start(0)).expect("read");
    let mut initrd = BufWriter::new(tempfile::NamedTempFile::new().expect("a file"));
    hyperlight_unikraft::cpio::from_tar(BufReader::new(tar), &mut initrd).expect("an archive");
    initrd.flush().expect("written");
    initrd.into_inner().expect("written")
}
