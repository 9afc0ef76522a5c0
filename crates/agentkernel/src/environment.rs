//! The one place that reads the environment, and what follows from it.

mod eval;
mod modules;

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agentkernel_client::Address;
use agentkernel_container::{EngineSettings, HostSystem};
use agentkernel_core::{Error, ErrorKind, Result};
use agentkernel_microvm::MicrovmSettings;
use agentkernel_oci::{RuntimeDir, Zygote};
use agentkernel_runtime::Registry;
use agentkernel_runtime::config::{self, ConfigPaths, Layer};

const SYSTEM_CONFIG: &str = "/etc/agentkernel/agentkernel.toml";
const CONFIG: &str = "agentkernel.toml";
/// The daemon's socket in its folder.
const SOCKET: &str = "daemon.sock";

/// The variable that every OpenTelemetry exporter obeys.
const COLLECTOR: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// What the caller's environment says to us. Variables that are empty say nothing.
pub struct Environment {
    /// AGENTKERNEL_HOME: configuration and state in one folder of the user's choice.
    agentkernel_home: Option<PathBuf>,
    home: Option<PathBuf>,
    xdg_runtime_dir: Option<PathBuf>,
    xdg_config_home: Option<PathBuf>,
    xdg_cache_home: Option<PathBuf>,
    backend: Option<OsString>,
    log: Option<OsString>,
    path: Option<PathBuf>,
    /// AGENTKERNEL_HELPERS: the folder of our helper programs.
    helpers: Option<PathBuf>,
    /// AGENTKERNEL_SNAPSHOTS: whether machines continue from snapshots.
    snapshots: bool,
    /// AGENTKERNEL_URL: the one daemon to ask.
    url: Option<OsString>,
    /// AGENTKERNEL_API_KEY: by what it knows us, if it is on TCP.
    api_key: Option<OsString>,
    e2b_api_key: Option<String>,
    collector: Option<OsString>,
    /// DOCKER_HOST and its like: where container engines are.
    engines: EngineSettings,
    working_dir: Option<PathBuf>,
}

/// A variable that is `on` or `off`; without it, on.
fn is_on(name: &str, value: Option<&str>) -> Result<bool> {
    let Some(other) = value.filter(|value| !["on", "off"].contains(value)) else {
        return Ok(value != Some("off"));
    };
    let why = format!("'{other}' is neither on nor off");
    Err(Error::new(ErrorKind::Usage, "read the environment", why).on(name))
}

impl Environment {
    /// Reads it.
    pub fn read() -> Result<Self> {
        let text = |name: &str| variable(OsStr::new(name)).filter(|value| !value.is_empty());
        let path = |name: &str| text(name).map(PathBuf::from);
        let words = |name: &str| text(name).map(|value| value.to_string_lossy().into_owned());
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
            xdg_config_home: path("XDG_CONFIG_HOME").filter(|home| home.is_absolute()),
            xdg_cache_home: path("XDG_CACHE_HOME").filter(|home| home.is_absolute()),
            backend: text("AGENTKERNEL_BACKEND"),
            log: text("AGENTKERNEL_LOG"),
            url: text("AGENTKERNEL_URL"),
            api_key: text("AGENTKERNEL_API_KEY"),
            e2b_api_key: words("E2B_API_KEY"),
            path: path("PATH"),
            snapshots: is_on("AGENTKERNEL_SNAPSHOTS", words("AGENTKERNEL_SNAPSHOTS").as_deref())?,
            helpers: path("AGENTKERNEL_HELPERS").filter(|folder| folder.is_absolute()),
            collector: text(COLLECTOR),
            engines: EngineSettings {
                docker_host: words("DOCKER_HOST"),
                docker_context: words("DOCKER_CONTEXT"),
                docker_config: path("DOCKER_CONFIG").filter(|folder| folder.is_absolute()),
                container_host: words("CONTAINER_HOST"),
                containers_conf: path("CONTAINERS_CONF").filter(|file| file.is_absolute()),
                containers_storage_conf: path("CONTAINERS_STORAGE_CONF").filter(|file| file.is_absolute()),
                ..EngineSettings::default()
            },
            working_dir: env::current_dir().ok(),
        })
    }

    /// Where programs of the host are looked for: PATH, and where distributions put what is for administrators, which not
    /// every PATH has. Nothing is looked for in the working directory.
    pub fn search_path(&self) -> Vec<PathBuf> {
        let named = self.path.as_deref().map(env::split_paths).into_iter().flatten();
        let standard = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
            .map(PathBuf::from);
        named.filter(|folder| folder.is_absolute()).chain(standard).collect()
    }

    /// What programs that are measured must know of this environment.
    pub fn for_benchmarks(&self) -> Vec<(String, String)> {
        let path = std::env::join_paths(self.search_path()).unwrap_or_default();
        let variables = self.for_daemon().into_iter().chain([("PATH", path)]);
        variables.map(|(name, value)| (name.to_owned(), value.to_string_lossy().into_owned())).collect()
    }

    /// AGENTKERNEL_API_KEY with its value, if it is set.
    pub fn api_key(&self) -> Option<(String, String)> {
        let key = self.api_key.as_ref()?;
        Some(("AGENTKERNEL_API_KEY".into(), key.to_string_lossy().into_owned()))
    }

    /// E2B_API_KEY, for benchmarks of what speaks E2B's protocol.
    pub fn e2b_api_key(&self) -> Option<String> {
        self.e2b_api_key.clone()
    }

    /// Where container engines are, and what they must know of us.
    pub fn engines(&self) -> EngineSettings {
        EngineSettings {
            home: self.home.clone(),
            xdg_runtime_dir: self.xdg_runtime_dir.clone(),
            search_path: self.search_path(),
            runtime_dir: self.runtime_dir().path().to_owned(),
            system: system(),
            ..self.engines.clone()
        }
    }

    /// Every backend, for this environment.
    pub fn registry(&self, zygote: Arc<Zygote>) -> Registry {
        let microvm = MicrovmSettings {
            home: self.microvm_home(),
            runtime_dir: self.runtime_dir().path().to_owned(),
            search_path: self.search_path(),
            snapshots: self.snapshots,
            hardware: agentkernel_runtime::has_hardware_virtualisation,
        };
        Registry::new(zygote, self.runtime_dir(), &self.engines(), microvm, self.wasm_cache(), self.helpers())
    }

    /// Where the kernel and the root devices of machines are kept.
    pub fn microvm_home(&self) -> Option<PathBuf> {
        let of_user = || Some(self.wasm_cache()?.with_file_name("microvm"));
        self.agentkernel_home.as_ref().map(|home| home.join("microvm")).or_else(of_user)
    }

    /// Where helper programs of ours are: where AGENTKERNEL_HELPERS says, beside this program, where programs are looked for.
    fn helpers(&self) -> Vec<PathBuf> {
        let beside = program().ok().and_then(|path| Some(path.parent()?.to_owned()));
        self.helpers.clone().into_iter().chain(beside).chain(self.search_path()).collect()
    }

    /// Where records of live sandboxes are.
    pub fn runtime_dir(&self) -> RuntimeDir {
        let uid = rustix::process::geteuid().as_raw();
        RuntimeDir::locate(self.agentkernel_home.as_deref(), self.xdg_runtime_dir.as_deref(), uid)
    }

    /// The daemon's folder: its socket, its store and its log. Not in the home folder, unless somebody says so: what
    /// is in there belongs to one host and one boot of it.
    pub fn daemon_home(&self) -> PathBuf {
        self.agentkernel_home.clone().unwrap_or_else(|| self.runtime_dir().path().to_owned())
    }

    /// Whether one daemon was named, so that no other, and none at all, will do.
    pub fn is_daemon_named(&self) -> bool {
        self.url.is_some()
    }

    /// The daemon to ask: the one that was named, else our own.
    pub fn daemon(&self) -> Result<Address> {
        let Some(url) = &self.url else { return Ok(Address::Unix(self.socket())) };
        let key = self.api_key.as_ref().map(|key| key.to_string_lossy());
        let address = Address::from_url(&url.to_string_lossy(), key.as_deref());
        address.map_err(|error| {
            let variable = if error.subject.is_empty() { "AGENTKERNEL_API_KEY" } else { "AGENTKERNEL_URL" };
            let subject = format!("{variable} {}", error.subject);
            error.on(subject.trim_end())
        })
    }

    /// Where our own daemon listens.
    pub fn socket(&self) -> PathBuf {
        self.daemon_home().join(SOCKET)
    }

    /// The folder of the user's systemd units.
    pub fn systemd_units(&self) -> Result<PathBuf> {
        let config = self.xdg_config_home.clone().or_else(|| Some(self.home.as_ref()?.join(".config")));
        config
            .map(|config| config.join("systemd/user"))
            .ok_or_else(|| Error::new(ErrorKind::Usage, "find the user's units", "HOME is not set"))
    }

    /// AGENTKERNEL_HOME, if it is set.
    pub fn agentkernel_home(&self) -> Option<&Path> {
        self.agentkernel_home.as_deref()
    }

    /// What the daemon that we start must know of this environment.
    pub fn for_daemon(&self) -> Vec<(&'static str, OsString)> {
        let named = [
            ("AGENTKERNEL_HOME", &self.agentkernel_home),
            ("HOME", &self.home),
            ("XDG_RUNTIME_DIR", &self.xdg_runtime_dir),
            ("XDG_CACHE_HOME", &self.xdg_cache_home),
            ("AGENTKERNEL_HELPERS", &self.helpers),
            ("DOCKER_CONFIG", &self.engines.docker_config),
            ("CONTAINERS_CONF", &self.engines.containers_conf),
            ("CONTAINERS_STORAGE_CONF", &self.engines.containers_storage_conf),
        ];
        let mut variables: Vec<_> = named
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.clone()?.into_os_string())))
            .collect();
        let engines = [
            ("DOCKER_HOST", &self.engines.docker_host),
            ("DOCKER_CONTEXT", &self.engines.docker_context),
            ("CONTAINER_HOST", &self.engines.container_host),
        ];
        variables.extend(engines.into_iter().filter_map(|(name, value)| Some((name, value.clone()?.into()))));
        variables.extend(self.log.clone().map(|value| ("AGENTKERNEL_LOG", value)));
        variables.extend(self.collector.clone().map(|value| (COLLECTOR, value)));
        variables
    }

    /// How much the daemon is to log, in the words of `tracing`.
    pub fn log(&self) -> Option<String> {
        self.log.as_ref().map(|words| words.to_string_lossy().into_owned())
    }

    /// The OpenTelemetry collector to which the daemon is to send spans.
    pub fn collector(&self) -> Option<String> {
        self.collector.as_ref().map(|address| address.to_string_lossy().into_owned())
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

/// Which system this is.
fn system() -> HostSystem {
    let uname = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    HostSystem { name: text(uname.sysname()), release: text(uname.release()) }
}

/// This very program, as a path.
pub fn program() -> std::io::Result<PathBuf> {
    env::current_exe()
}

/// A variable of the caller's.
#[expect(clippy::disallowed_methods, reason = "this is the place that reads the environment")]
pub fn variable(name: &OsStr) -> Option<OsString> {
    env::var_os(name)
}
