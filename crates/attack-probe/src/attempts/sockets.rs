//! Sockets beyond unix and plain internet ones, and ways to any peer outside the sandbox.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram, UnixStream};
use std::time::Duration;

use crate::attempt::{Answer, Attempt, Control, Errno, Outcome, errno_of};
use crate::situation::Situation;
use crate::sys::{Reply, call};

/// The kernel has no such sockets.
const NO_SUCH_SOCKET: &[Errno] = &[libc::EAFNOSUPPORT, libc::EPROTONOSUPPORT, libc::ESOCKTNOSUPPORT];

/// Nobody listens there, or there is no way to it. A silent peer (ETIMEDOUT) proves nothing.
const NO_SUCH_PEER: &[Errno] =
    &[libc::ECONNREFUSED, libc::ENETUNREACH, libc::EHOSTUNREACH, libc::ENETDOWN, libc::EADDRNOTAVAIL];

type Run = fn(&Situation) -> Outcome;

const fn open(id: &'static str, what: &'static str, run: Run) -> Attempt {
    Attempt::new(id, Control::Host, what, run).refused(NO_SUCH_SOCKET)
}

/// The kernel takes a socket's family as 32 bits; a filter that compares 64 lets this one pass.
const HIGH_BIT: i64 = 1 << 32;

const NETLINK_GENERIC: i32 = 16;

pub const ATTEMPTS: &[Attempt] = &[
    open("socket-vsock", "a socket to the hypervisor", |_| socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0)),
    open("socket-vsock-high-bit", "the same, with a bit set that only a filter sees", |_| {
        raw_socket(i64::from(libc::AF_VSOCK) | HIGH_BIT, libc::SOCK_STREAM, 0)
    }),
    open("socket-alg", "a socket to the kernel's ciphers", |_| socket(libc::AF_ALG, libc::SOCK_SEQPACKET, 0)),
    open("socket-alg-high-bit", "the same, with a bit set that only a filter sees", |_| {
        raw_socket(i64::from(libc::AF_ALG) | HIGH_BIT, libc::SOCK_SEQPACKET, 0)
    }),
    open("socket-packet", "a socket for raw frames", |_| socket(libc::AF_PACKET, libc::SOCK_RAW, 0x0300)),
    open("socket-raw-ipv4", "a socket for raw IPv4 packets", |_| {
        socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)
    }),
    open("socket-raw-ipv6", "a socket for raw IPv6 packets", |_| {
        socket(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6)
    }),
    open("netlink-audit", "a socket to the kernel's audit", |_| netlink(libc::NETLINK_AUDIT)),
    open("netlink-audit-high-bit", "the same, with a bit set that only a filter sees", |_| {
        raw_socket(i64::from(libc::AF_NETLINK) | HIGH_BIT, libc::SOCK_RAW, libc::NETLINK_AUDIT)
    }),
    open("netlink-uevent", "a socket to device events", |_| netlink(libc::NETLINK_KOBJECT_UEVENT)),
    open("netlink-sock-diag", "a socket to socket statistics", |_| netlink(libc::NETLINK_SOCK_DIAG)),
    open("netlink-netfilter", "a socket to the packet filter", |_| netlink(libc::NETLINK_NETFILTER)),
    open("netlink-xfrm", "a socket to IPsec", |_| netlink(libc::NETLINK_XFRM)),
    open("netlink-generic", "a socket to generic netlink", |_| netlink(NETLINK_GENERIC)),
    Attempt::new("host-port", Control::Host, "connect to a port of the host's loopback", host_ports)
        .refused(NO_SUCH_PEER),
    // EPROTOTYPE: somebody listens there, with another kind of socket.
    Attempt::new(
        "host-abstract",
        Control::Host,
        "connect to an abstract socket of the host",
        abstract_sockets,
    )
    .granted(&[libc::EPROTOTYPE])
    .refused(NO_SUCH_PEER),
    Attempt::new("network-interfaces", Control::Host, "find an interface beyond loopback", |_| {
        crate::attempts::interfaces::beyond_loopback()
    }),
    Attempt::new("udp-route", Control::Host, "find a route out (no packet is sent)", |_| udp_route())
        .refused(NO_SUCH_PEER),
    // Not on the host: there the metadata service hands out secrets.
    Attempt::new("metadata-service", Control::Sandbox, "connect to 169.254.169.254:80", |_| {
        connect(SocketAddr::from((Ipv4Addr::new(169, 254, 169, 254), 80))).into()
    })
    .refused(NO_SUCH_PEER),
];

fn socket(family: i32, kind: i32, protocol: i32) -> Outcome {
    raw_socket(family.into(), kind, protocol)
}

fn raw_socket(family: i64, kind: i32, protocol: i32) -> Outcome {
    let reply: Reply = call!(libc::SYS_socket, family, kind | libc::SOCK_CLOEXEC, protocol);
    reply.into()
}

fn netlink(protocol: i32) -> Outcome {
    socket(libc::AF_NETLINK, libc::SOCK_RAW, protocol)
}

/// How long a peer may stay silent.
const CONNECT: Duration = Duration::from_secs(2);

fn connect(address: SocketAddr) -> Answer {
    match TcpStream::connect_timeout(&address, CONNECT) {
        Ok(_) => Ok("connected".into()),
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Err(libc::ETIMEDOUT),
        Err(error) => Err(errno_of(&error)),
    }
}

fn host_ports(situation: &Situation) -> Outcome {
    if situation.host_ports.is_empty() {
        return Outcome::error("needs --host-port");
    }
    let hosts: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let addresses = situation.host_ports.iter().flat_map(|port| hosts.map(|host| (host, *port).into()));
    // A kernel without IPv6 has no way to ::1.
    let tried = addresses.map(|address: SocketAddr| match connect(address) {
        Err(libc::EAFNOSUPPORT) if address.is_ipv6() => (address.to_string(), Err(libc::EADDRNOTAVAIL)),
        answer => (address.to_string(), answer),
    });
    Outcome::Answers(tried.collect())
}

fn abstract_sockets(situation: &Situation) -> Outcome {
    if situation.host_abstract.is_empty() {
        return Outcome::error("needs --host-abstract");
    }
    let try_one = |name: &std::ffi::OsString| {
        let answer = UnixAddress::from_abstract_name(name.as_bytes())
            .and_then(|address| {
                let datagram = || UnixDatagram::unbound()?.connect_addr(&address);
                UnixStream::connect_addr(&address).map(|_| ()).or_else(|_| datagram())
            })
            .map(|()| "connected".to_owned());
        (name.to_string_lossy().into_owned(), answer.map_err(|error| errno_of(&error)))
    };
    Outcome::Answers(situation.host_abstract.iter().map(try_one).collect())
}

/// Connecting a datagram socket only asks the kernel for a route. The address is one for documentation.
fn udp_route() -> Outcome {
    let route = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    route.map(|from| format!("from {from}")).map_err(|error| errno_of(&error)).into()
}
