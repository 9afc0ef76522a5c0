//! Where an engine listens.

use std::path::{Path, PathBuf};

use crate::context;
use crate::trouble::Unusable;

/// What the environment says of engines, read by the program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineSettings {
    /// `DOCKER_HOST`.
    pub docker_host: Option<String>,
    /// `DOCKER_CONTEXT`.
    pub docker_context: Option<String>,
    /// `DOCKER_CONFIG`: the folder of Docker's own configuration.
    pub docker_config: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// Absolute folders in which programs are looked for.
    pub search_path: Vec<PathBuf>,
    /// Where sandboxes are recorded that are not an engine's; containers are labelled with it.
    pub runtime_dir: PathBuf,
}

impl EngineSettings {
    /// Docker's socket: that of `DOCKER_HOST`, else that of the context, else the one of every distribution.
    pub(crate) fn docker_socket(&self) -> Result<PathBuf, Unusable> {
        if let Some(address) = &self.docker_host {
            return unix_socket("DOCKER_HOST", address);
        }
        let folder = self.docker_config.clone().or_else(|| Some(self.home.as_ref()?.join(".docker")));
        let address = match folder {
            Some(folder) => context::address(&folder, self.docker_context.as_deref())?,
            None => None,
        };
        match address {
            Some((context, address)) => unix_socket(&format!("the docker context '{context}'"), &address),
            None => Ok("/var/run/docker.sock".into()),
        }
    }

    /// A program of the host.
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        self.search_path.iter().map(|folder| folder.join(name)).find(|path| path.is_file())
    }
}

/// The path of a `unix://` address.
fn unix_socket(said_by: &str, address: &str) -> Result<PathBuf, Unusable> {
    let path = address.strip_prefix("unix://").map(Path::new).filter(|path| path.is_absolute());
    path.map(Path::to_owned).ok_or_else(|| {
        let shown: String = address.chars().filter(|letter| !letter.is_control()).take(200).collect();
        Unusable {
            needs: format!("an engine on a unix socket of this host, and {said_by} says '{shown}'"),
            hint: format!("set {said_by} to unix:///PATH, or do without it"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_socket_of_this_host_or_refused_by_name() {
        let docker = |host: &str| {
            let settings = EngineSettings { docker_host: Some(host.into()), ..EngineSettings::default() };
            settings.docker_socket()
        };
        assert_eq!(docker("unix:///run/d.sock"), Ok("/run/d.sock".into()));
        for wrong in ["tcp://10.0.0.1:2375", "ssh://root@host", "unix://relative", "/run/d.sock", "npipe://x"]
        {
            let refused = docker(wrong).expect_err("refused");
            assert!(refused.needs.contains("DOCKER_HOST") && refused.needs.contains(wrong), "{refused:?}");
        }
        assert_eq!(EngineSettings::default().docker_socket(), Ok("/var/run/docker.sock".into()));
    }
}
