//! The host's control groups: where they are, what one allows, how a process gets into it, and its end; on cgroup v1, v2
//! and the hybrid of both.
//!
//! Architecture invariant: what a group is to allow is read back from the kernel before anything runs in it, and a limit
//! that was asked for and does not hold is an error.

#![forbid(unsafe_code)]

mod door;
mod enter;
mod group;
mod hierarchy;
pub mod kernel_file;
mod membership;
pub mod mountinfo;
mod plan;
mod quick_moves;
mod read_back;
mod usage;

pub use door::GroupDoor;
pub use enter::DeviceRule;
pub use group::{Group, INNER};
pub use hierarchy::{Base, Hierarchy, NEEDED};
pub use membership::Membership;
pub use plan::{CPU_PERIOD_US, CgroupPlan, cpu_quota_us};
pub use quick_moves::QuickMoves;
pub use read_back::{ReadBack, has_swap};

/// Waits some milliseconds for a kernel that offers nothing to wait on.
pub fn pause(milliseconds: i64) {
    let time = rustix::time::Timespec { tv_sec: 0, tv_nsec: milliseconds * 1_000_000 };
    // An interrupted pause is only shorter.
    rustix::event::poll(&mut [], Some(&time)).ok();
}
