//! Apple's container, on a stand-in: its way from a description to a sandbox and back, the attacks, and what is told when
//! the program fails, hangs or lies.

mod faults;
mod killed;
mod versions;
mod weaken;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use agentkernel_core::{
    Access, Backend as _, BindMount, ByteSize, ErrorKind, HostSocket, Image, Limit, Limits, Profile,
};
use agentkernel_core::{SandboxName, SandboxSpec};

use super::apple_fixture::{AppleFixture, apple_fixture, apple_spec};
use crate::attacks::{ALLOWED_OPEN, no_attack_works_in};
use crate::support::exec;

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_used_as_it_is_and_nothing_is_left() {
    let Some(AppleFixture { backend, apple, home }) = apple_fixture().await else { return };
    let name = "example.org/test/greeting:1.0";
    let changes = ["ENV GREETING=hello", "ENTRYPOINT [\"/bin/false\"]", "USER 0", "WORKDIR /etc"];
    let Some(()) = apple.engine().import_busybox(name, &changes, |_| {}) else { return };
    let spec = apple_spec().image(Image::Named(name.parse().expect("a name")));
    let sandbox = backend.boot(&spec.build().expect("valid")).await.expect("boots").sandbox;
    let script = "echo $GREETING $PWD $(id -u); cat /etc/marker; echo; touch /x /etc/x 2>&1; echo mine >file && cat file";
    let said = exec(&*sandbox, &["sh", "-c", script]).await.text();
    assert!(said.starts_with("hello /workspace 65532\nof the image\n"), "{said}");
    assert_eq!(said.matches("Read-only file system").count(), 2, "{said}");
    assert!(said.ends_with("mine"), "{said}");
    let usage = sandbox.usage().await.expect("told");
    assert!(usage.memory_bytes.is_some_and(|bytes| bytes > 0) && usage.pids.is_some_and(|pids| pids > 0));
    sandbox.stop().await.expect("stops");
    assert_eq!(apple.containers(), Vec::<String>::new());
    drop(backend);
    let left: Vec<_> = fs::read_dir(home.path().join("apple")).expect("listed").flatten().collect();
    assert!(left.len() == 1 && left[0].file_name().to_string_lossy().starts_with("agent-"), "{left:?}");
}

/// Attempts that may say OPEN there.
const ALLOWED_OPEN_IN_APPLES: &[(&str, &str)] = &[(
    "processes-foreign",
    "the program that passes the agent's stream on is to be seen; it is another user's, and cannot be touched",
)];

#[tokio::test(flavor = "multi_thread")]
async fn no_attack_works_in_a_container_of_apples_stand_in() {
    let Some(fixture) = apple_fixture().await else { return };
    let allowed = [ALLOWED_OPEN, ALLOWED_OPEN_IN_APPLES].concat();
    no_attack_works_in(&fixture.backend, &apple_spec().build().expect("valid"), &allowed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_name_of_its_own_is_the_one_inside_and_a_name_is_taken_once() {
    let Some(AppleFixture { backend, apple, .. }) = apple_fixture().await else { return };
    let named = apple_spec().hostname("web".parse().expect("a name")).build().expect("valid");
    let sandbox = backend.boot(&named).await.expect("boots").sandbox;
    assert_eq!(exec(&*sandbox, &["hostname"]).await.text(), "web");
    let error = backend.boot(&named).await.err().expect("taken");
    assert_eq!(error.kind, ErrorKind::NameTaken);
    sandbox.stop().await.expect("stops");
    assert_eq!(apple.containers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_are_mounted_and_nothing_else_is() {
    let Some(AppleFixture { backend, apple, home }) = apple_fixture().await else { return };
    let shared = home.path().join("shared");
    fs::create_dir(&shared).expect("made");
    fs::write(shared.join("file"), "of the host").expect("written");
    for folder in [home.path(), &shared] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).expect("opened");
    }
    let mount = |source: &Path, target: &str, access| {
        BindMount::new(source, Path::new(target), access).expect("valid")
    };
    let spec = apple_spec().mount(mount(&shared, "/mnt/ro", Access::ReadOnly)).mount(mount(
        &shared,
        "/mnt/rw",
        Access::ReadWrite,
    ));
    let sandbox = backend.boot(&spec.build().expect("valid")).await.expect("boots").sandbox;
    let script = "cat /mnt/ro/file; echo x >/mnt/ro/new; echo written >/mnt/rw/new; cat /mnt/ro/new";
    assert_eq!(exec(&*sandbox, &["sh", "-c", script]).await.text(), "of the hostwritten");
    sandbox.stop().await.expect("stops");
    for (source, why) in [(shared.join("file"), "folders alone"), (shared.join("none"), "No such file")] {
        let spec = apple_spec().mount(mount(&source, "/mnt/x", Access::ReadOnly)).build().expect("valid");
        let error = backend.boot(&spec).await.err().expect("refused");
        assert_eq!(
            (error.kind, error.subject),
            (ErrorKind::ControlRefused, format!("mount {}", source.display()))
        );
        assert!(error.why.contains(why), "{}", error.why);
    }
    assert_eq!(apple.containers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_has_its_limit_and_what_floods_it_is_killed() {
    let Some(AppleFixture { backend, apple, .. }) = apple_fixture().await else { return };
    let limits = Limits { memory: Limit::At(ByteSize::mib(200)), ..Limits::of(Profile::Restrictive) };
    let sandbox =
        backend.boot(&apple_spec().limits(limits).build().expect("valid")).await.expect("boots").sandbox;
    let flood = "head -c 419430400 /dev/zero | tail -c 419430400 >/dev/null";
    let said = exec(&*sandbox, &["sh", "-c", flood]).await;
    assert!(!said.exited.status.is_success(), "400 MiB were held in 200 MiB of memory");
    assert_eq!(exec(&*sandbox, &["echo", "alive"]).await.text(), "alive");
    sandbox.stop().await.expect("stops");
    assert_eq!(apple.containers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_of_the_host_is_served_inside() {
    let Some(AppleFixture { backend, apple, home }) = apple_fixture().await else { return };
    let path = home.path().join("host.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&path).expect("bound");
    let socket = HostSocket::new(&path, "llm").expect("valid");
    let spec = apple_spec().host_socket(Some(socket)).build().expect("valid");
    let sandbox = backend.boot(&spec).await.expect("boots").sandbox;
    let said = exec(&*sandbox, &["test", "-S", "/dev/shm/.agentkernel/llm"]).await;
    assert!(said.exited.status.is_success());
    sandbox.stop().await.expect("stops");
    assert_eq!(apple.containers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_of_the_host_are_refused_with_the_way_out() {
    let Some(AppleFixture { backend, apple, .. }) = apple_fixture().await else { return };
    let name = SandboxName::from_random(agentkernel_testkit::random_u64());
    let spec = SandboxSpec::builder(name, Profile::Restrictive).build().expect("valid");
    let error = backend.boot(&spec).await.err().expect("refused");
    assert_eq!((error.kind, &*error.subject), (ErrorKind::ControlRefused, "image host"));
    assert!(error.hint.is_some_and(|hint| hint.contains("--image")));
    assert!(!apple.asked().iter().any(|line| line.starts_with("create")), "nothing was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_missing_is_not_fetched() {
    let Some(AppleFixture { backend, apple, .. }) = apple_fixture().await else { return };
    let missing = Image::Named("example.org/test/none:1".parse().expect("a name"));
    let error =
        backend.boot(&apple_spec().image(missing).build().expect("valid")).await.err().expect("refused");
    assert_eq!((error.kind, &*error.subject), (ErrorKind::Boot, "example.org/test/none:1"));
    let hint = error.hint.expect("a way out");
    assert!(hint.starts_with("container image pull example.org/test/none:1"), "{hint}");
    assert_eq!(apple.fetched(), "");
}
