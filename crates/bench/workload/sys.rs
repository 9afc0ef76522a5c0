//! The one question that no file answers everywhere.

/// Of `linux/prctl.h`. gVisor's /proc/self/status does not have it.
const PR_GET_NO_NEW_PRIVS: i32 = 39;

unsafe extern "C" {
    fn prctl(option: i32, ...) -> i32;
}

/// 1 if nothing that is executed can gain privileges, 0 if it can, negative if the kernel does not tell.
pub fn no_new_privs() -> i32 {
    // SAFETY: it takes no pointer; the kernel wants the four unused arguments to be zero.
    unsafe { prctl(PR_GET_NO_NEW_PRIVS, 0_u64, 0_u64, 0_u64, 0_u64) }
}
