//! Facts of the machine on which figures depend. What cannot be read says so.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// `/proc/version`.
    pub kernel: String,
    /// Name of the distribution.
    pub system: String,
    /// The processor's model.
    pub cpu: String,
    /// Processors that this process may use.
    pub cores: usize,
    /// All of the machine's memory.
    pub memory_bytes: Option<u64>,
    /// Swap space.
    pub swap_bytes: Option<u64>,
    /// How control groups are mounted.
    pub cgroups: String,
    /// Whether this is a virtual machine, and whose.
    pub virtualisation: String,
    /// What the processor's faults cost: each fault and its remedy.
    pub mitigations: Vec<String>,
    /// How the processor's clock is governed.
    pub governor: String,
}

impl Environment {
    /// Looks at the machine.
    #[must_use]
    pub fn gather(cgroups: String) -> Self {
        let cpuinfo = read("/proc/cpuinfo").unwrap_or_default();
        let meminfo = read("/proc/meminfo").unwrap_or_default();
        Self {
            kernel: told(read("/proc/version"), "/proc/version"),
            system: told(read("/etc/os-release").and_then(|text| pretty_name(&text)), "/etc/os-release"),
            cpu: told(field(&cpuinfo, "model name"), "model name in /proc/cpuinfo"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: kib(&meminfo, "MemTotal"),
            swap_bytes: kib(&meminfo, "SwapTotal"),
            cgroups,
            virtualisation: virtualisation(&cpuinfo),
            mitigations: mitigations(),
            governor: told(
                read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
                "cpufreq, which a guest seldom has",
            ),
        }
    }
}

/// `/proc/loadavg` as it is now.
#[must_use]
pub fn load() -> String {
    told(read("/proc/loadavg"), "/proc/loadavg")
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn told(found: Option<String>, missing: &str) -> String {
    found.unwrap_or_else(|| format!("not captured: there is no {missing}"))
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

fn kib(meminfo: &str, name: &str) -> Option<u64> {
    field(meminfo, name)?.strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

fn pretty_name(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(value.trim_matches('"').to_owned())
}

fn virtualisation(cpuinfo: &str) -> String {
    let is_guest =
        field(cpuinfo, "flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor"));
    let product = read("/sys/class/dmi/id/product_name").or_else(|| read("/sys/hypervisor/type"));
    match (is_guest, product) {
        (true, Some(product)) => format!("virtual machine ({product})"),
        (true, None) => "virtual machine (the processor says so; whose is not told)".into(),
        (false, Some(product)) => format!("none told by the processor ({product})"),
        (false, None) => "none told".into(),
    }
}

fn mitigations() -> Vec<String> {
    let folder = Path::new("/sys/devices/system/cpu/vulnerabilities");
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<String> = entries
        .filter_map(|entry| {
            let remedy = fs::read_to_string(entry.path()).ok()?;
            Some(format!("{}: {}", entry.file_name().display(), remedy.trim()))
        })
        .collect();
    found.sort();
    if found.is_empty() {
        found.push(format!("not captured: nothing in {}", folder.display()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_and_what_is_missing_says_so() {
        let text = "processor\t: 0\nmodel name\t: A CPU: fast\nflags\t\t: fpu hypervisor\n";
        assert_eq!(field(text, "model name").as_deref(), Some("A CPU: fast"));
        assert_eq!(field(text, "model"), None);
        assert_eq!(kib("MemTotal:  24 kB\n", "MemTotal"), Some(24 * 1024));
        assert!(virtualisation(text).starts_with("virtual machine"));
        assert_eq!(told(None, "/x"), "not captured: there is no /x");
        assert_eq!(pretty_name("A=1\nPRETTY_NAME=\"Debian 12\"\n").as_deref(), Some("Debian 12"));
    }
}
