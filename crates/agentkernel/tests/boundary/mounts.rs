//! Folders and files of the host in a sandbox, on every backend that has them: what is done in one that may be written to
//! is done on the host, and nothing in one that is only to be read.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use agentkernel_core::{Access, Backend, BackendKind, BindMount, Profile, SandboxName, SandboxSpec};
use agentkernel_oci::engine::Engine;
use agentkernel_testkit::random_u64;

use crate::containers::fixture as containers;
use crate::support::{exec, fixture, fixture_with};

/// Whom the folders belong to on the host: nobody who is anybody.
const OWNER: (u32, u32) = (1234, 2345);

/// Whom they belong to inside, and on the host what is made by an engine's containers, which share its ids.
const SANDBOX: (u32, u32) = (65532, 65532);

/// Does what can be done with files, and says what is refused.
const SCRIPT: &str = "cat /mnt/ro/file /mnt/one
    echo more >>/mnt/one
    (echo x >/mnt/ro/new) 2>/dev/null || echo refused
    (echo x >>/mnt/ro/file) 2>/dev/null || echo refused
    cd /mnt/rw
    echo new >new && chmod 640 new && ln new hard && ln -s new link
    mkdir folder && echo x >folder/x && echo y >folder/y && mv folder moved && rm moved/x
    cat link";

/// Whether two names can be given to one file. gVisor's gofer links what it has open, which Linux lets nobody do in a user namespace
/// of his own until 6.10: `ln` says that there is no such file.
fn can_link(backend: &dyn Backend) -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map(str::parse::<u32>);
    let mut number = || numbers.next().expect("a version").expect("a number");
    backend.kind() != BackendKind::Gvisor || (number(), number()) >= (6, 10)
}

/// Folders of the host, away from what others may look into.
struct Folders {
    home: tempfile::TempDir,
}

impl Folders {
    fn make() -> Self {
        let folders = Self { home: tempfile::tempdir().expect("a folder") };
        fs::set_permissions(folders.home.path(), Permissions::from_mode(0o755)).expect("set");
        for name in ["rw", "ro"] {
            fs::create_dir(folders.at(name)).expect("made");
        }
        fs::write(folders.at("ro/file"), "of the host\n").expect("written");
        fs::write(folders.at("one"), "one\n").expect("written");
        for (name, mode) in [("rw", 0o777), ("ro", 0o777), ("ro/file", 0o666), ("one", 0o666)] {
            fs::set_permissions(folders.at(name), Permissions::from_mode(mode)).expect("set");
            chown(folders.at(name), Some(OWNER.0), Some(OWNER.1)).expect("given away");
        }
        folders
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn spec(&self) -> SandboxSpec {
        let mount = |name: &str, access| {
            BindMount::new(&self.at(name), &Path::new("/mnt").join(name), access).expect("valid")
        };
        SandboxSpec::builder(SandboxName::from_random(random_u64()), Profile::Restrictive)
            .mount(mount("rw", Access::ReadWrite))
            .mount(mount("ro", Access::ReadOnly))
            .mount(mount("one", Access::ReadWrite))
            .build()
            .expect("valid")
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).expect("read")
    }

    fn names(&self, name: &str) -> Vec<String> {
        let entries = fs::read_dir(self.at(name)).expect("listed");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// That all of it was done, and is `owner`'s.
    fn have_what_was_done(&self, owner: (u32, u32), can_link: bool) {
        assert_eq!(self.names("rw"), ["hard", "link", "moved", "new"]);
        assert_eq!(
            (self.names("rw/moved"), self.names("ro")),
            (vec!["y".to_owned()], vec!["file".to_owned()])
        );
        assert_eq!((&*self.read("ro/file"), &*self.read("one")), ("of the host\n", "one\nmore\n"));
        assert_eq!(fs::read_link(self.at("rw/link")).expect("a link"), Path::new("new"));
        for name in ["rw/new", "rw/hard", "rw/link", "rw/moved", "rw/moved/y"] {
            let facts = fs::symlink_metadata(self.at(name)).expect("facts");
            assert_eq!((facts.uid(), facts.gid()), owner, "{name}");
        }
        let (new, hard) =
            (self.at("rw/new").metadata().expect("facts"), self.at("rw/hard").metadata().expect("facts"));
        assert_eq!((new.mode() & 0o7777, hard.mode() & 0o7777), (0o640, 0o640));
        assert_eq!((new.ino() == hard.ino(), new.nlink()), if can_link { (true, 2) } else { (false, 1) });
    }
}

/// Works with them in a sandbox, and compares with what the host then has.
async fn are_the_hosts(backend: &dyn Backend, owner: (u32, u32)) {
    if !rustix::process::geteuid().is_root() {
        return; // nobody else can give folders away
    }
    let folders = Folders::make();
    let sandbox = backend.boot(&folders.spec()).await.expect("boots").sandbox;
    let can_link = can_link(backend);
    let script = if can_link { SCRIPT } else { &SCRIPT.replace("ln new", "! ln new hard 2>&- && cp -p new") };
    let said = exec(&*sandbox, &["sh", "-c", script]).await;
    assert_eq!(said.text(), "of the host\none\nrefused\nrefused\nnew", "{said:?}");
    sandbox.stop().await.expect("stops");
    folders.have_what_was_done(owner, can_link);
}

/// A folder takes the place of the sandbox's own, and what is neither a folder nor a file is refused.
async fn take_the_sandboxs_own_places(backend: &dyn Backend) {
    let folders = Folders::make();
    let mount =
        |name: &Path, place: &str, access| BindMount::new(name, place.as_ref(), access).expect("valid");
    let spec = || SandboxSpec::builder(SandboxName::from_random(random_u64()), Profile::Restrictive);
    let taken = spec().mount(mount(&folders.at("rw"), "/workspace", Access::ReadWrite)).mount(mount(
        &folders.at("ro"),
        "/tmp",
        Access::ReadOnly,
    ));
    let sandbox = backend.boot(&taken.build().expect("valid")).await.expect("boots").sandbox;
    let script = "pwd; echo kept >kept; cat /tmp/file; (echo x >/tmp/x) 2>/dev/null || echo refused";
    let said = exec(&*sandbox, &["sh", "-c", script]).await;
    assert_eq!(said.text(), "/workspace\nof the host\nrefused", "{said:?}");
    sandbox.stop().await.expect("stops");
    assert_eq!(
        (folders.read("rw/kept"), folders.names("ro")),
        ("kept\n".to_owned(), vec!["file".to_owned()])
    );
    let socket = folders.at("socket");
    let _listens = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
    for special in [&socket, Path::new("/dev/zero")] {
        let spec = spec().mount(mount(special, "/mnt/special", Access::ReadOnly)).build().expect("valid");
        let error = backend.boot(&spec).await.err().expect("refused").to_string();
        assert!(error.contains("only folders and regular files can be mounted"), "{error}");
        assert!(error.contains(&special.display().to_string()), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_are_the_hosts() {
    let Some(fixture) = fixture().await else { return };
    are_the_hosts(&fixture.backend, OWNER).await;
    take_the_sandboxs_own_places(&fixture.backend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_are_the_hosts_by_runtimes() {
    for engine in [Engine::Runc, Engine::Crun, Engine::Gvisor] {
        let Some(fixture) = fixture_with(engine).await else { continue };
        are_the_hosts(&fixture.backend, OWNER).await;
        take_the_sandboxs_own_places(&fixture.backend).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_are_the_hosts_by_engines() {
    if let Some(docker) = containers::fixture().await {
        are_the_hosts(&docker.backend, SANDBOX).await;
        take_the_sandboxs_own_places(&docker.backend).await;
    }
    if let Some(podman) = containers::podman_fixture().await {
        are_the_hosts(&podman.backend, SANDBOX).await;
        take_the_sandboxs_own_places(&podman.backend).await;
    }
}
