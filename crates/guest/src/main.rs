//! The program that is PID 1 in every Linux sandbox: it runs what the host asks for over one byte
//! stream, and ends with everything it started when that stream ends. With a *door* (`--door`, a socket
//! at descriptor 3) it outlives its host instead, and another one can come in. Where nobody can give it a stream, it
//! waits for a caller (`await`), and the same program passes its caller's streams on (`pass`), or tells what the kernel
//! says of the sandbox (`report`). In a micro VM it is the first program of all (`machine`). A kernel that hands
//! over calls instead of a stream is served by `calls`.
//!
//! One thread, one `poll`, no runtime. It starts without the standard library's own preparations
//! (`no_main`), which would end it where neither the standard streams nor `/dev/null` exist, as in a
//! micro VM before its first mount.
//!
//! Architecture invariants:
//! - Nothing but `poll` ever waits: whatever may take time is done by a child.
//! - A process can delay only itself: everything it sends is bounded by a window of its own, and
//!   everything queued is bounded as well.
//! - Nobody else in the sandbox can speak for the agent: its memory and descriptors are closed to
//!   processes of the same user, and no child inherits any of them.
//!
//! Exit codes: 0 the host ended the stream (or the door was closed when there was no host) or asked for
//! the end; 2 the stream or the door could not be taken over;
//! 3 the host did not greet in time; 4 the host is another build or speaks another protocol; 5 the host
//! broke the protocol; 6 a file system could not be mounted.

#![cfg_attr(not(test), no_main)]

mod accept;
mod agent;
mod caller;
mod calls;
mod confine;
mod door;
mod files;
mod group;
mod machine;
mod mounts;
mod process;
mod rehearsal;
mod report;
mod spawn;
mod stream;
mod sys;
mod takeover;
mod terminal;
mod tree;

use std::ffi::{CStr, c_char, c_int};
use std::io::Write as _;

use takeover::Words;

/// Where the program begins: the C library calls this by its name.
// SAFETY: no other symbol of this program is called `main`, and this has the type that C demands.
#[cfg_attr(not(test), unsafe(no_mangle))]
extern "C" fn main(count: c_int, arguments: *const *const c_char) -> c_int {
    let started_ns = sys::monotonic_ns();
    let count = usize::try_from(count).unwrap_or(0);
    // SAFETY: the C library passes `count` pointers to C strings that live as long as the program.
    let words = (1..count).map(|index| unsafe { CStr::from_ptr(*arguments.add(index)) });
    let words: Vec<_> = words.map(CStr::to_bytes).collect();
    if words == [b"--rehearse"] {
        return rehearsal::run();
    }
    let done = match words[..] {
        [b"pass", name] => caller::pass(name).map_err(|error| format!("no first process: {error}")),
        [b"calls"] => calls::serve(),
        [b"report"] => report::run().map_err(|error| format!("no report: {error}")),
        _ => serve(&words, started_ns),
    };
    done.unwrap_or_else(|reason| {
        // Whoever started it by hand made the mistake, and may read this. In a machine it is the console, which may be broken.
        writeln!(std::io::stderr(), "agentkernel-guest: {reason}").ok();
        2
    })
}

/// Becomes the agent; returns the exit code.
fn serve(words: &[&[u8]], started_ns: u64) -> Result<i32, String> {
    let words = Words::parse(words)?;
    let taken = takeover::take_over(words)?;
    // Who had to wait for a host has only now begun to be greeted.
    let began_ns = if words.had_to_wait() { sys::monotonic_ns() } else { started_ns };
    Ok(agent::run(taken, began_ns))
}
