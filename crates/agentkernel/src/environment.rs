//! The one place that reads the environment, and what follows from it.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use agentkernel_core::{Error, ErrorKind, Result};
use agentkernel_oci::RuntimeDir;
use agentkernel_runtime::config::{self, ConfigPaths, Layer};

const SYSTEM_CONFIG: &str = "/etc/agentkernel/agentkernel.toml";
const CONFIG: &str = "agentkernel.toml";

/// What the caller's environment says to us. Variables that are empty say nothing.
pub struct Environment {
    /// AGENTKERNEL_HOME: configuration and state in one folder of the user's choice.
    agentkernel_home: Option<PathBuf>,
    home: Option<PathBuf>,
    xdg_runtime_dir: Option<PathBuf>,
    backend: Option<OsString>,
    working_dir: Option<PathBuf>,
}

impl Environment {
    /// Reads it.
    pub fn read() -> Result<Self> {
        let path =
            |name: &str| variable(OsStr::new(name)).filter(|value| !value.is_empty()).map(PathBuf::from);
        let agentkernel_home = path("AGENTKERNEL_HOME");
        if let Some(home) = agentkernel_home.as_deref().filter(|home| !home.is_absolute()) {
            // Relative to the working directory, it could be part of a hostile checkout.
            let why = format!("'{}' is not an absolute path", home.display());
            return Err(Error::new(ErrorKind::Usage, "read the environment", why).on("AGENTKERNEL_HOME"));
        }
        Ok(Self {
            agentkernel_home,
            home: path("HOME").filter(|home| home.is_absolute()),
            xdg_runtime_dir: path("XDG_RUNTIME_DIR"),
            backend: path("AGENTKERNEL_BACKEND").map(PathBuf::into_os_string),
            working_dir: env::current_dir().ok(),
        })
    }

    /// Where records of live sandboxes are.
    pub fn runtime_dir(&self) -> RuntimeDir {
        let uid = rustix::process::geteuid().as_raw();
        RuntimeDir::locate(self.agentkernel_home.as_deref(), self.xdg_runtime_dir.as_deref(), uid)
    }

    /// Where configuration is.
    pub fn config_paths(&self) -> ConfigPaths {
        let user = match (&self.agentkernel_home, &self.home) {
            (Some(home), _) => Some(home.join(CONFIG)),
            (None, Some(home)) => Some(home.join(".config/agentkernel").join(CONFIG)),
            (None, None) => None,
        };
        ConfigPaths {
            system: Some(PathBuf::from(SYSTEM_CONFIG)),
            user,
            project: self.working_dir.as_ref().map(|folder| folder.join(CONFIG)),
        }
    }

    /// What the environment says about a run.
    pub fn layer(&self) -> Result<Layer> {
        let backend = self.backend.as_ref().map(|word| word.to_string_lossy());
        config::environment_layer(backend.as_deref())
    }

    /// The path from the root, of one that may be relative to the working directory.
    pub fn absolute(&self, path: &Path) -> Result<PathBuf> {
        match &self.working_dir {
            _ if path.is_absolute() => Ok(path.to_owned()),
            Some(folder) => Ok(folder.join(path)),
            None => {
                let why = "it is relative, and the working directory is gone";
                Err(Error::new(ErrorKind::Usage, "find the path", why).on(path.display()))
            }
        }
    }
}

/// A variable of the caller's.
#[expect(clippy::disallowed_methods, reason = "this is the place that reads the environment")]
pub fn variable(name: &OsStr) -> Option<OsString> {
    env::var_os(name)
}
