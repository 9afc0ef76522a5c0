//! What Firecracker is asked to be: its words, and what is said by its API, in this order.

use serde_json::{Value, json};

use super::{Beginning, INITRAMFS, KERNEL_FD, ROOT_FD, SNAPSHOT_FD, VmPlan, given, in_folder};

/// Where it listens for orders, in the folder.
pub const API: &str = "api";
/// Where it takes calls for the guest, in the folder.
pub const CALLS: &str = "calls";
/// The guest's port at which its agent takes the first call.
pub const PORT: u32 = 1024;

/// The guest's address: the least that is nobody's (`vsock(7)`).
const GUEST_CID: u32 = 3;

/// Where a jailer has its jail, in the folder of the machine.
pub const JAIL: &str = "root";

/// The files of a jail.
pub const KERNEL: &str = "kernel";
/// The root device's.
pub const ROOT: &str = "root.ext4";
/// What the processors and devices of a snapshot are, in the folder.
pub const STATE: &str = "state";
/// What the memory of a snapshot is, in the folder.
pub const MEMORY: &str = "memory";

/// One request: how, what, and with which body.
pub type Request = (&'static str, &'static str, Value);

/// The words after the program's name. A jailer adds those that name the machine.
pub(super) fn argv(plan: &VmPlan) -> Vec<String> {
    // A guest that looks for devices which it has not makes a line of each attempt below that.
    let mut words = ["--api-sock", &place(plan, API), "--level", "Error"].map(str::to_owned).to_vec();
    if !plan.jailed {
        words.extend(["--id".to_owned(), plan.name.to_string()]);
    }
    words
}

/// Where it finds a file: in its jail, or by the descriptors that it was given.
fn place(plan: &VmPlan, name: &str) -> String {
    let restores = plan.beginning == Beginning::Restore;
    match name {
        name if plan.jailed => format!("/{name}"),
        KERNEL => given(KERNEL_FD),
        ROOT => given(ROOT_FD),
        STATE if restores => given(SNAPSHOT_FD),
        MEMORY if restores => given(SNAPSHOT_FD + 1),
        name => in_folder(name),
    }
}

impl VmPlan {
    /// What makes the machine run.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        match self.beginning {
            Beginning::Boot => self.boot_requests(),
            Beginning::Restore => {
                let memory = json!({"backend_type": "File", "backend_path": place(self, MEMORY)});
                let load =
                    json!({"snapshot_path": place(self, STATE), "mem_backend": memory, "resume_vm": true});
                vec![("PUT", "/snapshot/load", load)]
            }
        }
    }

    fn boot_requests(&self) -> Vec<Request> {
        let place = |name| place(self, name);
        let mut requests = vec![
            // A thread of a processor is shared with nobody else of ours, and so is none of its siblings.
            (
                "PUT",
                "/machine-config",
                json!({"vcpu_count": self.processors, "mem_size_mib": self.memory_mib, "smt": false}),
            ),
            (
                "PUT",
                "/boot-source",
                json!({
                    "kernel_image_path": place(KERNEL),
                    "initrd_path": place(INITRAMFS),
                    "boot_args": self.kernel_arguments(),
                }),
            ),
            // Not the kernel's root: the agent mounts it.
            (
                "PUT",
                "/drives/root",
                json!({
                    "drive_id": "root",
                    "path_on_host": place(ROOT),
                    "is_root_device": false,
                    "is_read_only": true,
                }),
            ),
            ("PUT", "/vsock", json!({"guest_cid": GUEST_CID, "uds_path": place(CALLS)})),
            ("PUT", "/entropy", json!({})),
        ];
        if self.gives_back {
            // Nothing is taken from the guest: it tells what is free.
            let balloon = json!({"amount_mib": 0, "deflate_on_oom": true, "free_page_reporting": true});
            requests.push(("PUT", "/balloon", balloon));
        }
        requests.push(("PUT", "/actions", json!({"action_type": "InstanceStart"})));
        requests
    }

    /// What has its snapshot written, once it waits.
    #[must_use]
    pub fn snapshot_requests(&self) -> Vec<Request> {
        // Never over those that it continues from, which it is given under the same names.
        let boots = Self { beginning: Beginning::Boot, ..self.clone() };
        let (state, memory) = (place(&boots, STATE), place(&boots, MEMORY));
        // Of one that has booted it is whole, and leaves out what was never touched; of another, what was not since.
        let kind = if self.sparse { "Diff" } else { "Full" };
        let create = json!({"snapshot_type": kind, "snapshot_path": state, "mem_file_path": memory});
        vec![("PATCH", "/vm", json!({"state": "Paused"})), ("PUT", "/snapshot/create", create)]
    }
}
