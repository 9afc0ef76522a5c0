//! Where the daemon is.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use agentkernel_core::{Error, ErrorKind, Result};

/// Where the daemon is, and by what it knows us.
#[derive(Clone, PartialEq, Eq)]
pub enum Address {
    /// A socket of this host; the daemon sees who we are.
    Unix(PathBuf),
    /// TCP, with a token.
    Tcp {
        /// `HOST:PORT`.
        host: String,
        /// The secret that stands for its owner.
        token: String,
    },
}

impl Address {
    /// Reads a URL: `http://HOST:PORT` of this machine, for which there must be a token, or `unix:///PATH`, for which
    /// `/PATH` is short.
    pub fn from_url(url: &str, token: Option<&str>) -> Result<Self> {
        let wrong = |why: &str, hint: &str| Err(unreadable(why).on(without_secrets(url)).hint(hint));
        let path = url.strip_prefix("unix://").or_else(|| url.strip_prefix("unix:")).unwrap_or(url);
        if path.starts_with('/') {
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let Some(authority) = url.strip_prefix("http://") else {
            return match url.split_once(':') {
                Some(("https", _)) => wrong("the daemon does not speak TLS", TUNNEL),
                Some(("unix", _)) => wrong("the path of the socket is not absolute", FORMS),
                _ => wrong("it is no URL of a daemon", FORMS),
            };
        };
        let host = authority.strip_suffix('/').unwrap_or(authority);
        let Some(name) = host_of(host) else { return wrong("it is not http://HOST:PORT", FORMS) };
        if !is_here(name) {
            return wrong("it is another machine, to which the token would go in the clear", TUNNEL);
        }
        let token = token.filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| bad_token("there is none, and a daemon on TCP wants one"))?;
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(bad_token("it has characters that no token has"));
        }
        Ok(Self::Tcp { host: host.to_owned(), token: token.to_owned() })
    }

    /// What the daemon is called in requests.
    pub(crate) fn host(&self) -> &str {
        match self {
            Self::Unix(_) => "localhost",
            Self::Tcp { host, .. } => host,
        }
    }

    /// The value of the header by which it knows us.
    pub(crate) fn authorization(&self) -> Option<String> {
        match self {
            Self::Unix(_) => None,
            Self::Tcp { token, .. } => Some(format!("Bearer {token}")),
        }
    }
}

/// What can be written.
const FORMS: &str = "write http://127.0.0.1:PORT, or unix:///PATH of its socket";
/// What helps where the daemon is elsewhere.
const TUNNEL: &str = "make a tunnel: ssh -N -L PORT:127.0.0.1:PORT HOST, and write http://127.0.0.1:PORT";

fn unreadable(why: &str) -> Error {
    Error::new(ErrorKind::Usage, "read the daemon's address", why)
}

fn bad_token(why: &str) -> Error {
    let error = Error::new(ErrorKind::Usage, "read the daemon's token", why);
    error.hint("it is what follows the colon in a line of the file that agentkernel serve --tcp names")
}

/// The URL without what may be a secret in it.
fn without_secrets(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((_, rest)) => format!("…@{rest}"),
        None => url.to_owned(),
    }
}

/// The host of `HOST:PORT`.
fn host_of(authority: &str) -> Option<&str> {
    let (host, port) = authority.rsplit_once(':')?;
    port.parse::<u16>().ok().filter(|port| *port > 0 && !host.is_empty())?;
    Some(host)
}

/// Whether this is our own machine, by a name of its own.
fn is_here(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(out),
            Self::Tcp { host, .. } => out.write_str(host),
        }
    }
}

impl fmt::Debug for Address {
    /// Without the token.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_shown() {
        let address = Address::Tcp { host: "127.0.0.1:80".into(), token: "secret".into() };
        assert!(!format!("{address} {address:?}").contains("secret"));
    }

    #[test]
    fn a_url_names_a_port_of_this_machine_or_a_socket() {
        let token = Some("0123456789abcdef");
        for host in ["127.0.0.1:7777", "localhost:80", "[::1]:7777", "127.9.9.9:1"] {
            let expected = Address::Tcp { host: host.into(), token: "0123456789abcdef".into() };
            assert_eq!(Address::from_url(&format!("http://{host}"), token), Ok(expected.clone()));
            assert_eq!(Address::from_url(&format!("http://{host}/"), token), Ok(expected));
        }
        for url in ["unix:///run/a b.sock", "unix:/run/a b.sock", "/run/a b.sock"] {
            assert_eq!(Address::from_url(url, None), Ok(Address::Unix("/run/a b.sock".into())));
        }
    }

    #[test]
    fn whatever_else_a_url_may_be_is_refused_with_a_way_out() {
        let refused = |url: &str| {
            let error = Address::from_url(url, Some("0123456789abcdef")).expect_err(url);
            assert!(error.kind == ErrorKind::Usage && error.hint.is_some(), "{url}: {error:?}");
            error.to_string()
        };
        for url in [
            "",
            "localhost:7777",
            "127.0.0.1",
            "http://",
            "http://localhost",
            "http://:1",
            "http://localhost:0",
        ] {
            refused(url);
        }
        for url in
            ["http://localhost:70000", "http://localhost:1/v1", "http://localhost:1?x", "ftp://localhost:1"]
        {
            refused(url);
        }
        assert!(refused("https://localhost:1").contains("TLS"));
        assert!(refused("unix://run/a.sock").contains("absolute"));
        for url in ["http://example.org:80", "http://10.0.0.1:80", "http://localhost.example.org:80"] {
            assert!(refused(url).contains("in the clear"), "{url}");
        }
        for url in ["http://localhost\r\nX: y:80", "http://a:secret@localhost:80"] {
            assert!(!refused(url).contains("secret"), "{url}");
        }
    }

    #[test]
    fn a_token_is_there_and_can_be_sent() {
        for token in [
            None,
            Some(""),
            Some("0123456789 abcdef"),
            Some("0123456789abcdef\r\nX: y"),
            Some("ä123456789abcdef"),
        ] {
            let error = Address::from_url("http://localhost:1", token).expect_err("refused");
            assert!(error.hint.is_some() && !error.to_string().contains("0123"), "{error}");
        }
    }
}
