//! Which network interfaces there are, asked through a plain socket, so that no /proc or /sys is needed.

use crate::attempt::{Errno, Outcome};
use crate::sys::call;

/// How many interface numbers are asked for.
const INDEX_MAX: i32 = 256;

/// Interfaces that some kernels put, down, into every new network namespace.
const FALLBACKS: &[&str] = &[
    "tunl0",
    "sit0",
    "ip6tnl0",
    "gre0",
    "gretap0",
    "erspan0",
    "ip_vti0",
    "ip6_vti0",
    "ip6gre0",
    "ip6gretap0",
];

/// OPEN when there is an interface that is neither loopback nor a fallback that is down.
pub fn beyond_loopback() -> Outcome {
    let socket = call!(libc::SYS_socket, libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
    let names = match socket.and_then(names) {
        Ok(names) => names,
        // Without internet sockets no interface is of use, but that is not what was asked.
        Err(errno) => return Outcome::error(format!("interfaces cannot be listed: errno {errno}")),
    };
    let others: Vec<String> = names.iter().filter(|(name, up)| is_a_way_out(name, *up)).map(shown).collect();
    if others.is_empty() {
        return Outcome::blocked(0, format!("interfaces: {}", list(&names)));
    }
    Outcome::open(others.join(", "))
}

fn is_a_way_out(name: &str, up: bool) -> bool {
    name != "lo" && (up || !FALLBACKS.contains(&name))
}

fn shown((name, up): &(String, bool)) -> String {
    format!("{name} ({})", if *up { "up" } else { "down" })
}

fn list(names: &[(String, bool)]) -> String {
    if names.is_empty() { "none".into() } else { names.iter().map(shown).collect::<Vec<_>>().join(", ") }
}

fn names(socket: i64) -> Result<Vec<(String, bool)>, Errno> {
    let mut found = Vec::new();
    for index in 1..=INDEX_MAX {
        // struct ifreq: the name at 0, the number or the flags at 16.
        let mut request = [0; 40];
        request[16..20].copy_from_slice(&index.to_ne_bytes());
        match call!(libc::SYS_ioctl, socket, SIOCGIFNAME, &mut request) {
            Ok(_) => found.push((name_of(&request), is_up(socket, request))),
            // No interface has that number.
            Err(libc::ENODEV | libc::ENXIO) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(found)
}

const SIOCGIFNAME: i32 = 0x8910;
const SIOCGIFFLAGS: i32 = 0x8913;

fn name_of(request: &[u8; 40]) -> String {
    let name = request[..16].split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

/// An interface whose flags are refused counts as up: that is the worse of the two.
fn is_up(socket: i64, mut request: [u8; 40]) -> bool {
    match call!(libc::SYS_ioctl, socket, SIOCGIFFLAGS, &mut request) {
        Ok(_) => i32::from(request[16]) & libc::IFF_UP != 0,
        Err(_) => true,
    }
}
