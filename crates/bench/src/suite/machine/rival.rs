//! Others' tools that do the same job: the words that start the command with each.

use super::Site;

/// All of them.
pub const NAMES: [&str; 3] = ["docker", "podman", "bwrap"];

/// The words of one, or why it cannot run here; `None` if nobody knows it.
pub fn words(site: &Site, name: &str) -> Option<Result<Vec<String>, String>> {
    let name = NAMES.into_iter().find(|known| *known == name)?;
    let program = agentkernel_process::locate(name, &site.folders);
    let flags: Vec<&str> = match name {
        // Nothing is fetched: an image that is not there is a reason.
        "docker" | "podman" => vec!["run", "--rm", "--pull=never", "--network=none", &site.image],
        _ => vec!["--unshare-all", "--die-with-parent", "--ro-bind", "/", "/"],
    };
    Some(program.ok_or_else(|| format!("{name} is not installed")).map(|program| {
        let words = flags.into_iter().chain(["echo", &site.token]).map(str::to_owned);
        std::iter::once(program.display().to_string()).chain(words).collect()
    }))
}
