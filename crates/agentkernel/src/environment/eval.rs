//! What `eval` and its setup must know of the environment.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use agentkernel_core::{Error, ErrorKind, Result};

use super::Environment;

/// Variables by which package managers find their files and their registries.
const FOR_PACKAGE_MANAGERS: &[&str] = &[
    "HOME",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "NETRC",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
];

/// How the names of all others begin that are theirs.
const OF_PACKAGE_MANAGERS: &[&str] = &["CARGO_", "RUSTUP_", "NPM_CONFIG_", "npm_config_", "PIP_", "PYENV_"];

impl Environment {
    /// Where interpreters are kept.
    pub fn eval_home(&self) -> Result<PathBuf> {
        let of_user = || Some(self.wasm_cache()?.with_file_name("eval"));
        let home = self.agentkernel_home.as_ref().map(|home| home.join("eval")).or_else(of_user);
        home.ok_or_else(|| {
            Error::new(ErrorKind::Usage, "find the interpreters", "there is no folder for them")
                .hint("set AGENTKERNEL_HOME")
        })
    }

    /// What package managers get of the environment, and nothing else: where they look for programs, and how they reach
    /// their registries.
    pub fn for_package_managers(&self) -> Vec<(String, OsString)> {
        let is_theirs = |name: &str| {
            FOR_PACKAGE_MANAGERS.contains(&name)
                || OF_PACKAGE_MANAGERS.iter().any(|begin| name.starts_with(begin))
        };
        let all = env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        let path = env::join_paths(self.search_path()).unwrap_or_default();
        all.filter(|(name, _)| is_theirs(name)).chain([("PATH".to_owned(), path)]).collect()
    }
}
