//! The embedded program itself.

use agentkernel_link::{GUEST, GUEST_BUILD};

use crate::real_guest::RealGuest;

fn holds(text: &[u8]) -> bool {
    GUEST.windows(text.len()).any(|window| window == text)
}

#[test]
fn it_is_a_program_that_knows_its_build() {
    assert!(GUEST.starts_with(b"\x7fELF"));
    assert_eq!(GUEST_BUILD.len(), 16);
    assert!(holds(GUEST_BUILD.as_bytes()));
}

/// Types of the program headers, by the layout of a 64-bit ELF file.
fn program_headers() -> Vec<u32> {
    let number = |at: usize, len: usize| {
        let mut bytes = [0; 8];
        bytes[..len].copy_from_slice(&GUEST[at..at + len]);
        usize::try_from(u64::from_le_bytes(bytes)).expect("64 bits")
    };
    let (first, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).map(|index| u32::try_from(number(first + index * size, 4)).expect("32 bits")).collect()
}

#[test]
fn it_needs_no_interpreter_and_so_no_library() {
    const PT_LOAD: u32 = 1;
    const PT_INTERP: u32 = 3;
    let headers = program_headers();
    assert!(headers.contains(&PT_LOAD) && !headers.contains(&PT_INTERP), "{headers:?}");
}

#[test]
fn it_tells_nothing_of_the_machine_that_built_it() {
    let workspace = env!("CARGO_MANIFEST_DIR").strip_suffix("/crates/link").expect("in a workspace");
    for path in [workspace, "/.cargo/", "/.rustup/", "/home/"] {
        assert!(!holds(path.as_bytes()), "{path} is written in it");
    }
}

#[tokio::test]
async fn it_says_when_it_was_ready() {
    let guest = RealGuest::start().await;
    assert!(guest.info.pid > 1);
    assert!(guest.info.startup().as_secs() < 5);
}

#[tokio::test]
async fn it_ends_when_it_is_asked_and_when_the_stream_ends() {
    let mut guest = RealGuest::start().await;
    guest.link.shutdown().await;
    assert!(guest.wait().success());
    let mut guest = RealGuest::start().await;
    guest.link.close("enough");
    // The driver is what closes the stream, and here it only runs while the test waits for it.
    tokio::task::yield_now().await;
    assert!(guest.wait().success());
}
