//! Whether an engine works here, and if not, why and what helps.

use agentkernel_core::{Availability, Profile, Sandbox, SandboxName, SandboxSpec};
use agentkernel_core::{Backend as _, Error, ErrorKind, Result};
use serde_json::Value;

use super::ContainerBackend;
use crate::api::{Engine, VERSION};
use crate::limits;
use crate::trouble::{Trouble, Unusable, unreachable};
use agentkernel_http::NoAnswer;

impl ContainerBackend {
    /// Asks it what it is, and boots a trial.
    pub(super) async fn probe_engine(&self, engine: &Engine) -> Availability {
        let facts = match self.ask_facts(engine).await {
            Ok(facts) => facts,
            Err(unusable) => return unusable.into(),
        };
        match self.trial().await {
            Ok(()) => Availability::Available { facts },
            Err(error) => Availability::Unavailable {
                needs: format!("an engine that makes sandboxes, and a trial failed: {error}"),
                hint: error.hint.unwrap_or_else(|| format!("look at the log of {}", self.kind)),
            },
        }
    }

    async fn ask_facts(&self, engine: &Engine) -> Result<Vec<(String, String)>, Unusable> {
        let silent = |why: Trouble| match why {
            Trouble::NoAnswer(NoAnswer::Unreachable(why)) => unreachable(&engine.known, &why),
            other => Unusable {
                needs: format!(
                    "a {} engine that answers on {}: {other}",
                    self.kind,
                    engine.known.socket.display()
                ),
                hint: format!("look at the log of {}", self.kind),
            },
        };
        let version = engine.version().await.map_err(silent)?;
        too_old(&version).map_or(Ok(()), Err)?;
        let info = engine.info().await.map_err(silent)?;
        let missing = limits::missing(engine, &info).await.map_err(silent)?;
        without(&missing, &info).map_or(Ok(()), Err)?;
        Ok(facts(&engine.known.socket.display().to_string(), &version, &info))
    }

    async fn trial(&self) -> Result<()> {
        let mut bits = [0; 8];
        rustix::rand::getrandom(&mut bits, rustix::rand::GetRandomFlags::empty())
            .map_err(|why| Error::new(ErrorKind::Host, "draw random bytes", why))?;
        let name = SandboxName::from_random(u64::from_le_bytes(bits));
        let booted = self.boot(&SandboxSpec::builder(name, Profile::Restrictive).build()?).await?;
        let sandbox: Box<dyn Sandbox> = booted.sandbox;
        sandbox.stop().await.map(drop)
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or("unknown")
}

fn too_old(version: &Value) -> Option<Unusable> {
    let spoken = text(version, "ApiVersion");
    let number = |text: &str| {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    };
    (number(spoken) < number(VERSION)).then(|| Unusable {
        needs: format!(
            "an engine with API {VERSION} or newer; version {} has {spoken}",
            text(version, "Version")
        ),
        hint: "upgrade it: Docker has that API since 20.10, Podman since 3.0".into(),
    })
}

/// Without these limits, not even what everybody gets can be made.
fn without(missing: &[&str], info: &Value) -> Option<Unusable> {
    (!missing.is_empty()).then(|| Unusable {
        needs: format!(
            "control groups with limits of {}, which the engine has not (cgroup v{}, driver {})",
            missing.join(", "),
            text(info, "CgroupVersion"),
            text(info, "CgroupDriver"),
        ),
        hint: "run it as root, or on cgroup v2 with these controllers delegated to the user and a systemd of the user".into(),
    })
}

fn facts(socket: &str, version: &Value, info: &Value) -> Vec<(String, String)> {
    let options: Vec<&str> =
        info["SecurityOptions"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let has = |name: &str| options.iter().any(|option| option.contains(&format!("name={name}")));
    let is_rootless = has("rootless") || info["Rootless"] == true;
    let user_namespaces = match (is_rootless, has("userns")) {
        (true, _) => "of an ordinary user, one for all sandboxes",
        (_, true) => "one range of ids for all sandboxes",
        _ => "none: ids inside are the host's",
    };
    [
        ("engine", format!("{} on {socket}", text(version, "Version"))),
        ("cgroups", format!("v{}, {}", text(info, "CgroupVersion"), text(info, "CgroupDriver"))),
        ("user namespaces", user_namespaces.into()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::EngineSettings;

    #[test]
    fn versions_compare_by_number_and_none_is_too_old() {
        let of = |api: Value| too_old(&json!({"ApiVersion": api, "Version": "1"}));
        assert!(of(json!("1.41")).is_none() && of(json!("1.100")).is_none() && of(json!("2.0")).is_none());
        assert!(of(json!("1.40")).is_some_and(|unusable| unusable.needs.contains("1.40")));
        assert!(of(json!("1.9")).is_some() && of(Value::Null).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_that_says_nothing_is_given_up_and_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("d.sock");
        let _listens = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
        let silent = Some(format!("unix://{}", socket.display()));
        let settings =
            || EngineSettings { runtime_dir: folder.path().to_owned(), ..EngineSettings::default() };
        let docker = EngineSettings { docker_host: silent.clone(), ..settings() };
        let podman = EngineSettings { container_host: silent, ..settings() };
        for backend in [ContainerBackend::docker(docker), ContainerBackend::podman(podman)] {
            let spec = SandboxSpec::builder(SandboxName::from_random(1), Profile::Restrictive);
            let error = backend.boot(&spec.build().expect("valid")).await.err().expect("refused");
            assert!(error.why.contains("did not answer within"), "{error}");
            let Availability::Unavailable { needs, hint } = backend.probe().await else {
                panic!("it is silent")
            };
            assert!(needs.contains("did not answer within") && hint.contains("log of "), "{needs}: {hint}");
        }
    }

    #[test]
    fn limits_that_are_missing_are_told_by_name() {
        let unusable = without(&["cpus", "pids"], &json!({"CgroupVersion": "1"})).expect("two are missing");
        assert!(
            unusable.needs.contains("cpus, pids") && unusable.needs.contains("(cgroup v1,"),
            "{unusable:?}"
        );
        assert_eq!(without(&[], &Value::Null), None);
    }

    #[test]
    fn a_rootless_engine_is_told_as_one() {
        let told = |info: Value| facts("s", &Value::Null, &info)[2].1.clone();
        assert!(told(json!({"Rootless": true})).contains("of an ordinary user"));
        assert!(told(json!({"SecurityOptions": ["name=rootless"]})).contains("of an ordinary user"));
        assert!(told(json!({"Rootless": false})).contains("none"));
    }
}
