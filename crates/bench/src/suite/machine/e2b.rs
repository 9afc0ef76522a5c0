//! Whatever speaks E2B's protocol, by E2B's own client for Python: unmodified, and started before the samples.

use agentkernel_core::{Error, ErrorKind, Result};
use serde_json::json;

use super::course::{Course, Doer, Figure, Missing, Talk, words};
use super::proving::Proving;
use super::{Site, work};
use crate::suite::Benchmark;

/// Where the client's driver puts the program that does the work.
const INSIDE: &str = "/tmp/agentkernel-bench-workload";

/// A server.
#[derive(Debug)]
pub struct E2b {
    address: Address,
}

/// How the client is told of it.
#[derive(Debug)]
enum Address {
    /// One port for everything.
    Url(String),
    /// A domain with a name for each sandbox.
    Domain(String),
}

impl E2b {
    /// At this URL, or at this domain.
    pub fn at(address: &str) -> Result<Self> {
        let is_plain = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]/_".contains(&byte))
        };
        let rest = ["http://", "https://"].iter().find_map(|scheme| address.strip_prefix(scheme));
        let address = match rest {
            Some(rest) if is_plain(rest) => Address::Url(address.trim_end_matches('/').to_owned()),
            None if is_plain(address) && !address.contains("//") => Address::Domain(address.to_owned()),
            _ => {
                let why = "it is no address of a server";
                return Err(Error::new(ErrorKind::Usage, "find the E2B server", why)
                    .on(format!("e2b:{address}"))
                    .hint("name one by its URL or by its domain: e2b:http://127.0.0.1:3000, e2b:e2b.app"));
            }
        };
        Ok(Self { address })
    }

    fn variables(&self, site: &Site) -> std::result::Result<Vec<(String, String)>, Missing> {
        let key = site.e2b_api_key.clone().ok_or("E2B_API_KEY is not set")?;
        let mut variables = vec![("E2B_API_KEY", key)];
        match &self.address {
            Address::Url(url) => {
                variables.extend([("E2B_API_URL", url.clone()), ("E2B_SANDBOX_URL", url.clone())]);
            }
            Address::Domain(domain) => variables.push(("E2B_DOMAIN", domain.clone())),
        }
        Ok(variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    fn talk(&self, benchmark: Benchmark, site: &Site, order: Order) -> std::result::Result<Course, Missing> {
        let Order { first, each, says, parts } = order;
        let driver = work::e2b_driver(site).display().to_string();
        let talk = Talk {
            words: words([&site.host_program("python3")?, &driver]),
            variables: self.variables(site)?,
            first,
            each,
            says,
            parts: parts.to_vec(),
            count: site.warm(benchmark),
        };
        Ok(Course { talk: Some(talk), ..Course::default() })
    }
}

/// What the client is told.
struct Order {
    first: Option<String>,
    each: String,
    says: String,
    parts: &'static [(&'static str, &'static str)],
}

impl Order {
    /// A sandbox of its own for each command.
    fn fresh(site: &Site, parts: &'static [(&'static str, &'static str)]) -> Self {
        let each = json!({"do": "startup", "command": echo(site)}).to_string();
        // A client's first call sets up what its others use: it is none of a sandbox's time.
        Self { first: Some(each.clone()), each, says: site.token.clone(), parts }
    }

    /// Into the one that lives, with this program in it.
    fn living(program: Option<&str>, command: &str, says: &str) -> Self {
        let first = Some(json!({"do": "open", "program": program}).to_string());
        let each = json!({"do": "exec", "command": command}).to_string();
        Self { first, each, says: says.to_owned(), parts: &[] }
    }
}

fn echo(site: &Site) -> String {
    format!("echo {}", site.token)
}

impl Doer for E2b {
    fn course(&self, benchmark: Benchmark, site: &Site) -> std::result::Result<Course, Missing> {
        let order = match benchmark {
            Benchmark::Startup | Benchmark::Concurrent | Benchmark::Stress => Order::fresh(site, &[]),
            Benchmark::Phases => Order::fresh(site, &[("create", "boot"), ("exec", "exec"), ("rm", "stop")]),
            Benchmark::Lifecycle => {
                Order::fresh(site, &[("create", "create"), ("exec", "exec"), ("rm", "rm")])
            }
            Benchmark::Exec => Order::living(None, &echo(site), &site.token),
            Benchmark::Cpu | Benchmark::Syscalls | Benchmark::Io => return self.inside(benchmark, site),
            Benchmark::Output => return Err("its client takes output as text, and this is none".into()),
            Benchmark::Memory => return Err("what it holds is on its server's host".into()),
            Benchmark::Copy => return Err("its client copies each file by a call of its own".into()),
            Benchmark::Fork => return Err("forks by its client are not measured".into()),
        };
        self.talk(benchmark, site, order)
    }

    fn proof(&self, _: &Site) -> std::result::Result<Proving, Missing> {
        Err("what is between its sandboxes and their host is not told to a client".into())
    }

    fn is_others(&self) -> bool {
        true
    }
}

impl E2b {
    /// The same program, put there by the client.
    fn inside(&self, benchmark: Benchmark, site: &Site) -> std::result::Result<Course, Missing> {
        let inside = work::inside(benchmark, site, INSIDE.as_ref(), "/tmp", &|words| words)?;
        let step = inside.timed.first().ok_or("there is no such work")?;
        let says = match &step.says {
            super::course::Says::Line(line) => line.clone(),
            _ => return Err("its work says no line".into()),
        };
        let program = work::program(site).display().to_string();
        let order = Order::living(Some(&program), &step.words.join(" "), &says);
        Ok(Course { figure: Figure::Inside, ..self.talk(benchmark, site, order)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_url_or_a_domain_and_nothing_else() {
        let is_url = |text: &str| matches!(E2b::at(text).expect("an address").address, Address::Url(_));
        assert!(is_url("http://127.0.0.1:3000/") && is_url("https://[::1]:3000"));
        assert!(!is_url("e2b.app") && !is_url("localhost:3000"));
        for wrong in ["", "http://", "ftp://x", "a b", "http://x\ny"] {
            assert_eq!(E2b::at(wrong).expect_err("no address").kind, ErrorKind::Usage, "{wrong:?}");
        }
    }
}
