//! What is checked before anything is done: a browser that was led here by somebody else's page gets nothing.

use std::net::SocketAddr;

use agentkernel_api::ErrorKind;
use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};

use super::caller::Way;
use crate::failure::{Failure, Outcome};

/// Refuses a request over TCP whose Host or Origin is not the daemon's own: DNS rebinding and cross-site requests.
/// A unix socket is out of a browser's reach.
pub fn origin(way: &Way, headers: &HeaderMap) -> Outcome<()> {
    let Way::Tcp { address, .. } = way else { return Ok(()) };
    let own = own_hosts(*address);
    let refused = |header: &str| {
        Err(Failure::new(ErrorKind::Forbidden, "let the caller in", "it is not the daemon's own").on(header))
    };
    let mut hosts = headers.get_all(HOST).iter();
    let is_own = |value: &str| own.iter().any(|host| host.eq_ignore_ascii_case(value));
    match (hosts.next().and_then(|host| host.to_str().ok()), hosts.next()) {
        (Some(host), None) if is_own(host) => {}
        _ => return refused("Host"),
    }
    for origin in headers.get_all(ORIGIN) {
        let origin = origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://"));
        if !origin.is_some_and(is_own) {
            return refused("Origin");
        }
    }
    Ok(())
}

/// The names of this address in a Host header.
fn own_hosts(address: SocketAddr) -> Vec<String> {
    let port = address.port();
    let mut hosts = vec![address.to_string(), format!("localhost:{port}")];
    if port == 80 {
        hosts.extend(["localhost".to_owned(), address.ip().to_string()]);
    }
    hosts
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::http::HeaderValue;

    use super::*;
    use crate::tokens::Tokens;

    fn judge(headers: &[(axum::http::HeaderName, &'static str)]) -> bool {
        let folder = tempfile::tempdir().expect("temp dir");
        let tokens = Tokens::read_or_make(&folder.path().join("tokens")).expect("made");
        let address = "127.0.0.1:4711".parse().expect("an address");
        let way = Way::Tcp { address, tokens: Arc::new(tokens) };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_static(value));
        }
        origin(&way, &map).is_ok()
    }

    #[test]
    fn its_own_names_are_let_in() {
        assert!(judge(&[(HOST, "127.0.0.1:4711")]));
        assert!(judge(&[(HOST, "localhost:4711")]));
        assert!(judge(&[(HOST, "LOCALHOST:4711"), (ORIGIN, "http://localhost:4711")]));
    }

    #[test]
    fn whatever_a_foreign_page_can_send_is_refused() {
        assert!(!judge(&[]));
        for host in
            ["evil.example", "127.0.0.1", "127.0.0.1:80", "localhost", "localhost:4711.evil.example", ""]
        {
            assert!(!judge(&[(HOST, host)]), "{host}");
        }
        assert!(!judge(&[(HOST, "localhost:4711"), (HOST, "localhost:4711")]));
        for origin in [
            "null",
            "http://evil.example",
            "https://localhost:4711",
            "http://localhost",
            "localhost:4711",
            "*",
        ] {
            assert!(!judge(&[(HOST, "localhost:4711"), (ORIGIN, origin)]), "{origin}");
        }
    }
}
