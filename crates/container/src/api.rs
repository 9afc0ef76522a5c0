//! What an engine is asked, one function for each request of its API.

use std::sync::Arc;
use std::time::Duration;

use agentkernel_core::{BackendKind, SandboxName};
use agentkernel_http::Incoming;
use agentkernel_http::{Method, StatusCode};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::net::UnixStream;

use crate::owner;
use crate::service::Service;
use crate::trouble::{Known, Trouble};
use agentkernel_http::{ANSWER_DEADLINE, Answer, Content, Server, escaped};

/// The version of the API that is spoken: the first with namespaces for control groups, in Docker since 20.10 (2020).
/// Podman serves it, too, since 3.0.
pub(crate) const VERSION: &str = "1.41";

/// Podman's own API, for what the common one cannot say: since 4.0 (2022). What it has newer is asked for by name.
const LIBPOD: &str = "/v4.0.0/libpod";

/// How long the engine may take to start a container or to take one down: on a busy host, seconds.
pub(crate) const SLOW_DEADLINE: Duration = Duration::from_secs(30);

/// How long it may take over an image.
const IMAGE_DEADLINE: Duration = Duration::from_secs(120);

/// One engine.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    server: Server,
    pub(crate) known: Known,
    /// What serves the API, if that is a child of ours: it lives as long as anybody asks it.
    _service: Option<Arc<Service>>,
}

/// A container, by what the engine calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContainerId(String);

impl ContainerId {
    /// Letters of hexadecimal numbers, so that it can be part of a path.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let plain = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        plain.then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// How the names of all our containers begin.
pub(crate) const NAME_PREFIX: &str = "agentkernel-";

/// What a sandbox's container is called.
pub(crate) fn container_name(name: &SandboxName) -> String {
    format!("{NAME_PREFIX}{name}")
}

impl Engine {
    pub(crate) fn new(known: Known, service: Option<Arc<Service>>) -> Self {
        Self { server: Server::new(&known.socket), known, _service: service }
    }

    pub(crate) fn kind(&self) -> BackendKind {
        self.known.kind
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        content: Content,
        time: Duration,
    ) -> Result<Answer, Trouble> {
        self.ask_at(method, &format!("/v{VERSION}{path}"), content, time).await
    }

    async fn ask_at(
        &self,
        method: Method,
        path: &str,
        content: Content,
        time: Duration,
    ) -> Result<Answer, Trouble> {
        let answer = self.server.ask(method, path, content, time).await?;
        if answer.status.is_success() || answer.status == StatusCode::NOT_MODIFIED {
            return Ok(answer);
        }
        Err(Trouble::Refused { status: answer.status, message: answer.message() })
    }

    /// Where the engine's own API begins, which for Podman is another than the one that it shares with Docker.
    fn own_api(&self) -> String {
        match self.kind() {
            BackendKind::Podman => LIBPOD.to_owned(),
            _ => format!("/v{VERSION}"),
        }
    }

    async fn get(&self, path: &str) -> Result<Value, Trouble> {
        Ok(self.ask(Method::GET, path, Content::Nothing, ANSWER_DEADLINE).await?.json())
    }

    async fn post(&self, path: &str) -> Result<(), Trouble> {
        self.ask(Method::POST, path, Content::Nothing, SLOW_DEADLINE).await.map(drop)
    }

    /// Which engine it is. Asked without a version, for it may be older than ours.
    pub(crate) async fn version(&self) -> Result<Value, Trouble> {
        Ok(self.ask_at(Method::GET, "/version", Content::Nothing, ANSWER_DEADLINE).await?.json())
    }

    /// What it can do on this host.
    pub(crate) async fn info(&self) -> Result<Value, Trouble> {
        self.get("/info").await
    }

    /// The same in the words of its own API.
    pub(crate) async fn own_info(&self) -> Result<Value, Trouble> {
        let path = format!("{}/info", self.own_api());
        Ok(self.ask_at(Method::GET, &path, Content::Nothing, ANSWER_DEADLINE).await?.json())
    }

    /// Makes an image of a tar. Its name has its tag in it: Podman hears of no other.
    pub(crate) async fn import(&self, name: &str, change: &str, tar: Bytes) -> Result<(), Trouble> {
        let path = format!("/images/create?fromSrc=-&repo={}&changes={}", escaped(name), escaped(change));
        let answer = self.ask(Method::POST, &path, Content::Tar(tar), IMAGE_DEADLINE).await?;
        // A stream of progress, whose status was told before anything was done.
        match answer.json()["error"].as_str() {
            Some(message) => Err(Trouble::Refused {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                message: message.to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// Images with a label.
    pub(crate) async fn images(&self, label: &str) -> Result<Value, Trouble> {
        let filters = escaped(&json!({"label": [label]}).to_string());
        self.get(&format!("/images/json?filters={filters}")).await
    }

    pub(crate) async fn inspect_image(&self, name: &str) -> Result<Value, Trouble> {
        self.get(&format!("/images/{}/json", escaped(name))).await
    }

    /// Removes an image that no container has.
    pub(crate) async fn remove_image(&self, name: &str) -> Result<(), Trouble> {
        self.ask(Method::DELETE, &format!("/images/{}", escaped(name)), Content::Nothing, IMAGE_DEADLINE)
            .await
            .map(drop)
    }

    /// Makes a container, and starts nothing.
    pub(crate) async fn create(&self, name: &str, mut container: Value) -> Result<ContainerId, Trouble> {
        let path = match self.kind() {
            BackendKind::Podman => {
                container["name"] = json!(name);
                format!("{LIBPOD}/containers/create")
            }
            _ => format!("/v{VERSION}/containers/create?name={}", escaped(name)),
        };
        let answer = self.ask_at(Method::POST, &path, Content::Json(container), SLOW_DEADLINE).await?;
        let id = answer.json()["Id"].as_str().and_then(ContainerId::parse);
        id.ok_or_else(|| Trouble::Refused {
            status: answer.status,
            message: format!("its answer names no container: {}", answer.message()),
        })
    }

    /// Puts the files of a tar into a container that does not run.
    pub(crate) async fn upload(&self, id: &ContainerId, tar: Bytes) -> Result<(), Trouble> {
        let path = format!("/containers/{}/archive?path=%2F", id.as_str());
        self.ask(Method::PUT, &path, Content::Tar(tar), IMAGE_DEADLINE).await.map(drop)
    }

    /// Makes an image of a container.
    pub(crate) async fn commit(&self, id: &ContainerId, name: &str, change: &str) -> Result<(), Trouble> {
        let (repository, tag) = name.rsplit_once(':').unwrap_or((name, "latest"));
        let (repository, change) = (escaped(repository), escaped(change));
        let path = format!("/commit?container={}&repo={repository}&tag={tag}&changes={change}", id.as_str());
        // Podman wants to read changes of the configuration, and Docker is content without any.
        let content = match self.kind() {
            BackendKind::Podman => Content::Json(json!({})),
            _ => Content::Nothing,
        };
        self.ask(Method::POST, &path, content, IMAGE_DEADLINE).await.map(drop)
    }

    /// Its standard streams, from now on.
    pub(crate) async fn attach(&self, id: &ContainerId) -> Result<(UnixStream, Bytes), Trouble> {
        let id = id.as_str();
        let path = format!("/v{VERSION}/containers/{id}/attach?stream=1&stdin=1&stdout=1&stderr=1");
        match self.server.upgrade(&path).await? {
            Ok(attached) => Ok(attached),
            Err(answer) => Err(Trouble::Refused { status: answer.status, message: answer.message() }),
        }
    }

    /// What happens to a container, from now on.
    pub(crate) async fn events(&self, id: &ContainerId) -> Result<Incoming, Trouble> {
        let filters =
            json!({"container": [id.as_str()], "event": ["oom", "die", "died"], "type": ["container"]});
        let filters = escaped(&filters.to_string());
        Ok(self.server.listen(&format!("/v{VERSION}/events?filters={filters}")).await?)
    }

    pub(crate) async fn start(&self, id: &ContainerId) -> Result<(), Trouble> {
        self.post(&format!("/containers/{}/start", id.as_str())).await
    }

    pub(crate) async fn inspect(&self, id: &str) -> Result<Value, Trouble> {
        self.get(&format!("/containers/{}/json", escaped(id))).await
    }

    /// Sends it SIGKILL. Docker waits until that has done its work; of Podman's two ways, this is the one that does not,
    /// for there the work has a long end.
    pub(crate) async fn kill(&self, id: &ContainerId) -> Result<(), Trouble> {
        let path = format!("{}/containers/{}/kill", self.own_api(), id.as_str());
        self.ask_at(Method::POST, &path, Content::Nothing, SLOW_DEADLINE).await.map(drop)
    }

    pub(crate) async fn pause(&self, id: &ContainerId, paused: bool) -> Result<(), Trouble> {
        let verb = if paused { "pause" } else { "unpause" };
        self.post(&format!("/containers/{}/{verb}", id.as_str())).await
    }

    pub(crate) async fn update(&self, id: &ContainerId, limits: Value) -> Result<(), Trouble> {
        // Podman's is there since 4.3.
        let path = format!("{}/containers/{}/update", self.own_api(), id.as_str());
        self.ask_at(Method::POST, &path, Content::Json(limits), SLOW_DEADLINE).await.map(drop)
    }

    pub(crate) async fn stats(&self, id: &ContainerId) -> Result<Value, Trouble> {
        self.get(&format!("/containers/{}/stats?stream=false&one-shot=true", id.as_str())).await
    }

    /// Kills it and removes it; it is no error if it is gone, or on its way.
    pub(crate) async fn remove(&self, id: &ContainerId) -> Result<(), Trouble> {
        self.remove_called(id.as_str()).await
    }

    /// The same by a name of ours. Podman removes what is only in its storage, too, and inspects nothing of it.
    pub(crate) async fn remove_called(&self, name: &str) -> Result<(), Trouble> {
        let path = removal(name);
        match self.ask(Method::DELETE, &path, Content::Nothing, SLOW_DEADLINE).await {
            Err(why) if why.is(StatusCode::NOT_FOUND) || why.is(StatusCode::CONFLICT) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Every container of ours: by label.
    pub(crate) async fn ours(&self) -> Result<Value, Trouble> {
        let filters = escaped(&json!({"label": [owner::SANDBOX]}).to_string());
        self.get(&format!("/containers/json?all=true&filters={filters}")).await
    }
}

/// The path of the request that removes a container, with whatever is in it.
pub(crate) fn removal(name: &str) -> String {
    format!("/containers/{}?force=true&v=true", escaped(name))
}
