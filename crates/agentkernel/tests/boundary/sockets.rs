//! One socket of the host inside a sandbox: bytes pass in both directions and end where they should, and nothing else
//! passes.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agentkernel_core::{Backend, HostSocket, Profile, Sandbox, SandboxName, SandboxSpec};
use agentkernel_oci::engine::Engine;
use agentkernel_testkit::random_u64;

use crate::containers::fixture as containers;
use crate::support::{exec, fixture, fixture_with, spec};

/// A service of the host that says everything back, and at the end how much it was.
struct Service {
    folder: tempfile::TempDir,
    connections: Arc<AtomicUsize>,
}

impl Service {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join("host.sock")).expect("a socket");
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        // It ends with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                counted.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || echo(client));
            }
        });
        Self { folder, connections }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("host.sock")
    }

    fn spec(&self) -> SandboxSpec {
        let socket = HostSocket::new(&self.path(), "echo").expect("valid");
        let name = SandboxName::from_random(random_u64());
        SandboxSpec::builder(name, Profile::Restrictive).host_socket(Some(socket)).build().expect("valid")
    }
}

fn echo(mut client: UnixStream) {
    let (mut chunk, mut heard) = (vec![0; 64 * 1024], 0);
    while let Ok(length @ 1..) = client.read(&mut chunk) {
        heard += length;
        if client.write_all(&chunk[..length]).is_err() {
            return;
        }
    }
    client.write_all(format!("|{heard}").as_bytes()).ok();
    client.shutdown(Shutdown::Both).ok();
}

/// Says so many bytes and then nothing more; prints how many it heard, and the last of them.
const CLIENT: &str = "
import socket, sys, threading
client = socket.socket(socket.AF_UNIX)
client.connect('/run/agentkernel/echo')
def say(left):
    while left:
        left -= client.send(b'x' * min(left, 65536))
    client.shutdown(socket.SHUT_WR)
threading.Thread(target=say, args=(int(sys.argv[1]),)).start()
heard, last = 0, b''
while chunk := client.recv(65536):
    heard, last = heard + len(chunk), (last + chunk)[-12:]
print(heard, last.decode().split('|')[1])
";

async fn says(sandbox: &dyn Sandbox, bytes: usize) -> String {
    let said = exec(sandbox, &["python3", "-c", CLIENT, &bytes.to_string()]).await;
    format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr))
}

async fn passes_bytes(backend: &dyn Backend) {
    let service = Service::start();
    let sandbox = backend.boot(&service.spec()).await.expect("boots").sandbox;
    for bytes in [0, 5, 20_000_000] {
        let end = format!("|{bytes}").len();
        assert_eq!(says(&*sandbox, bytes).await, format!("{} {bytes}\n", bytes + end));
    }
    assert_eq!(service.connections.load(Ordering::SeqCst), 3);
    sandbox.stop().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_pass_and_end_on_the_embedded_boundary() {
    let Some(fixture) = fixture().await else { return };
    passes_bytes(&fixture.backend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_pass_and_end_under_gvisor() {
    let Some(fixture) = fixture_with(Engine::Gvisor).await else { return };
    passes_bytes(&fixture.backend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_pass_and_end_under_runc() {
    let Some(fixture) = fixture_with(Engine::Runc).await else { return };
    passes_bytes(&fixture.backend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_pass_and_end_in_containers_of_docker() {
    let Some(fixture) = containers::fixture().await else { return };
    passes_bytes(&fixture.backend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_pass_and_end_in_containers_of_podman() {
    let Some(fixture) = containers::podman_fixture().await else { return };
    passes_bytes(&fixture.backend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_connections_at_once_are_served_and_the_posture_holds() {
    let Some(fixture) = fixture().await else { return };
    let service = Service::start();
    let sandbox = fixture.backend.boot(&service.spec()).await.expect("boots").sandbox;
    let many = "
import socket
clients = [socket.socket(socket.AF_UNIX) for _ in range(50)]
for client in clients:
    client.connect('/run/agentkernel/echo')
for number, client in enumerate(clients):
    client.sendall(b'%d' % number)
    client.shutdown(socket.SHUT_WR)
for number, client in enumerate(clients):
    heard = b''
    while chunk := client.recv(100):
        heard += chunk
    assert heard == b'%d|%d' % (number, len(str(number))), heard
    client.close()
print('all')
";
    let said = exec(&*sandbox, &["python3", "-c", many]).await;
    assert_eq!(String::from_utf8_lossy(&said.stdout), "all\n", "{}", String::from_utf8_lossy(&said.stderr));
    let posture = sandbox.posture().await.expect("readable");
    assert!(posture.holds(), "{posture:?}");
    sandbox.stop().await.expect("stops");
}

/// Descriptors that a tenant hands to the socket, or the service to it, would be a way around the boundary.
#[tokio::test(flavor = "multi_thread")]
async fn no_descriptor_passes() {
    let Some(fixture) = fixture().await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("host.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let socket = HostSocket::new(&path, "echo").expect("valid");
    let name = SandboxName::from_random(random_u64());
    let spec = SandboxSpec::builder(name, Profile::Restrictive).host_socket(Some(socket));
    let sandbox = fixture.backend.boot(&spec.build().expect("valid")).await.expect("boots").sandbox;
    let hand_over = "
import os, socket
client = socket.socket(socket.AF_UNIX)
client.connect('/run/agentkernel/echo')
socket.send_fds(client, [b'take'], [os.open('/', os.O_RDONLY)])
print(client.recv(100))
";
    let service = std::thread::spawn(move || {
        let (client, _) = listener.accept().expect("a client");
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut ancillary = rustix::net::RecvAncillaryBuffer::new(&mut space);
        let mut text = [0; 16];
        let mut slices = [std::io::IoSliceMut::new(&mut text)];
        let flags = rustix::net::RecvFlags::CMSG_CLOEXEC;
        let heard = rustix::net::recvmsg(&client, &mut slices, &mut ancillary, flags).expect("bytes").bytes;
        let handed_over = ancillary.drain().count();
        (&client).write_all(b"heard").expect("said");
        (text[..heard].to_vec(), handed_over)
    });
    let said = exec(&*sandbox, &["python3", "-c", hand_over]).await;
    assert_eq!(String::from_utf8_lossy(&said.stdout), "b'heard'\n", "{said:?}");
    assert_eq!(service.join().expect("no panic"), (b"take".to_vec(), 0));
    sandbox.stop().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_to_nobody_is_closed_and_the_next_one_is_served() {
    let Some(fixture) = fixture().await else { return };
    let service = Service::start();
    let away = service.folder.path().join("away");
    let sandbox = fixture.backend.boot(&service.spec()).await.expect("boots").sandbox;
    std::fs::rename(service.path(), &away).expect("renamed");
    let said = says(&*sandbox, 0).await;
    assert!(said.contains("IndexError"), "it was heard by somebody: {said}");
    std::fs::rename(&away, service.path()).expect("renamed");
    assert_eq!(says(&*sandbox, 3).await, "5 3\n");
    // Nor by a tenant who kills whatever he can, the worker that waits among it.
    exec(&*sandbox, &["sh", "-c", "kill -9 -1"]).await;
    assert_eq!(says(&*sandbox, 3).await, "5 3\n");
    sandbox.stop().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_one_there_is_no_socket_and_a_tenant_can_make_no_way_to_the_host() {
    let Some(fixture) = fixture().await else { return };
    let service = Service::start();
    let sandbox = fixture.backend.boot(&spec()).await.expect("boots").sandbox;
    let said = says(&*sandbox, 0).await;
    assert!(said.contains("FileNotFoundError"), "{said}");
    let direct = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])";
    let path = service.path();
    let said = exec(&*sandbox, &["python3", "-c", direct, path.to_str().expect("text")]).await;
    assert!(String::from_utf8_lossy(&said.stderr).contains("FileNotFoundError"), "{said:?}");
    assert_eq!(service.connections.load(Ordering::SeqCst), 0);
    assert!(!Path::new("/dev/shm/.agentkernel").exists(), "it is in the sandbox, not on the host");
    sandbox.stop().await.expect("stops");
}
