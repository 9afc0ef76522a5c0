//! Where an engine listens.

use std::path::{Path, PathBuf};

use crate::context;
use crate::trouble::Unusable;

/// Which system this is, as uname(2) says it: what of the engines can be there follows from that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostSystem {
    /// `Linux`, or `Darwin` for macOS.
    pub name: String,
    /// Of its kernel, as in `25.1.0`.
    pub release: String,
}

/// What the environment says of engines, read by the program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineSettings {
    /// `DOCKER_HOST`.
    pub docker_host: Option<String>,
    /// `DOCKER_CONTEXT`.
    pub docker_context: Option<String>,
    /// `DOCKER_CONFIG`: the folder of Docker's own configuration.
    pub docker_config: Option<PathBuf>,
    /// `CONTAINER_HOST`.
    pub container_host: Option<String>,
    /// `XDG_RUNTIME_DIR`.
    pub xdg_runtime_dir: Option<PathBuf>,
    /// `CONTAINERS_CONF` and `CONTAINERS_STORAGE_CONF`: Podman's own settings.
    pub containers_conf: Option<PathBuf>,
    /// See there.
    pub containers_storage_conf: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// Absolute folders in which programs are looked for.
    pub search_path: Vec<PathBuf>,
    /// Where sandboxes are recorded that are not an engine's; containers are labelled with it.
    pub runtime_dir: PathBuf,
    /// This host.
    pub system: HostSystem,
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

    /// Podman's socket, where one is named.
    pub(crate) fn named_podman_socket(&self) -> Result<Option<PathBuf>, Unusable> {
        self.container_host.as_ref().map(|address| unix_socket("CONTAINER_HOST", address)).transpose()
    }

    /// Where it is, if systemd serves it.
    pub(crate) fn usual_podman_socket(&self, is_root: bool) -> Option<PathBuf> {
        if is_root {
            return Some("/run/podman/podman.sock".into());
        }
        let folder = self.xdg_runtime_dir.as_ref().filter(|folder| folder.is_absolute())?;
        Some(folder.join("podman/podman.sock"))
    }

    /// What a Podman of ours is told.
    pub(crate) fn podman_variables(&self) -> Vec<(&'static str, String)> {
        let mut all = self.common_variables();
        let own = [
            ("XDG_RUNTIME_DIR", &self.xdg_runtime_dir),
            ("CONTAINERS_CONF", &self.containers_conf),
            ("CONTAINERS_STORAGE_CONF", &self.containers_storage_conf),
        ];
        all.extend(said(own));
        all
    }

    /// What every program of an engine's is told.
    pub(crate) fn common_variables(&self) -> Vec<(&'static str, String)> {
        let folders = self.search_path.iter().map(|folder| folder.display().to_string());
        let path =
            (!self.search_path.is_empty()).then(|| PathBuf::from(folders.collect::<Vec<_>>().join(":")));
        said([("PATH", &path), ("HOME", &self.home)]).collect()
    }

    /// A program of the host.
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        self.search_path.iter().map(|folder| folder.join(name)).find(|path| path.is_file())
    }
}

/// Those variables that have a value.
fn said<const N: usize>(
    variables: [(&'static str, &Option<PathBuf>); N],
) -> impl Iterator<Item = (&'static str, String)> {
    variables.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?.display().to_string())))
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

    #[test]
    fn podmans_socket_is_the_named_one_else_the_one_of_root_or_of_the_user() {
        let named =
            EngineSettings { container_host: Some("unix:///run/p.sock".into()), ..EngineSettings::default() };
        assert_eq!(named.named_podman_socket(), Ok(Some("/run/p.sock".into())));
        let wrong = EngineSettings { container_host: Some("ssh://x".into()), ..EngineSettings::default() };
        assert!(wrong.named_podman_socket().expect_err("refused").needs.contains("CONTAINER_HOST"));
        let user =
            EngineSettings { xdg_runtime_dir: Some("/run/user/7".into()), ..EngineSettings::default() };
        assert_eq!(user.named_podman_socket(), Ok(None));
        assert_eq!(user.usual_podman_socket(true), Some("/run/podman/podman.sock".into()));
        assert_eq!(user.usual_podman_socket(false), Some("/run/user/7/podman/podman.sock".into()));
        assert_eq!(EngineSettings::default().usual_podman_socket(false), None);
        assert_eq!(user.podman_variables(), [("XDG_RUNTIME_DIR", "/run/user/7".to_owned())]);
    }
}
