//! From our own words to those of the daemon's API, and back.

use std::collections::BTreeMap;
use std::time::Duration;

use agentkernel_api as api;
use agentkernel_core::{Access, BindMount, CauseOfDeath, Command, CommandUser, Error, ErrorKind, ExitStatus};
use agentkernel_core::{
    Exited, HostSocket, Image, Phases, Result, SandboxName, SandboxSpec, Stdin, TerminalSize, Usage,
};
use agentkernel_runtime::BackendRequest;

use super::command_flags::Variable;

/// The description of a sandbox. Everything is said, so that the daemon's own defaults do not matter.
pub fn sandbox(
    spec: &SandboxSpec,
    backend: BackendRequest,
    name: Option<&SandboxName>,
    hostname: Option<&SandboxName>,
) -> api::SandboxRequest {
    let limits = spec.limits();
    let (mut image, mut rootfs, mut module) = (None, None, None);
    match spec.image() {
        Image::Host => image = Some("host".to_owned()),
        Image::Named(name) => image = Some(name.to_string()),
        Image::Rootfs(path) => rootfs = Some(bytes_of(path)),
        Image::Module(file) => module = Some(bytes_of(file.path())),
    }
    api::SandboxRequest {
        name: name.map(ToString::to_string),
        hostname: hostname.map(ToString::to_string),
        backend: Some(backend.to_string()),
        emulate: spec.emulate(),
        image,
        rootfs,
        module,
        profile: Some(spec.profile().as_str().to_owned()),
        user: Some(spec.user().to_string()),
        memory: Some(limits.memory.to_string()),
        cpus: Some(limits.cpus.to_string()),
        pids: Some(limits.pids.to_string()),
        disk: Some(limits.disk.to_string()),
        mounts: spec.mounts().iter().map(mount).collect(),
        unix_socket: spec.host_socket().map(unix_socket),
        warm_up: spec.warm_up().map(|warm_up| words(&warm_up.argv)).unwrap_or_default(),
        ..api::SandboxRequest::default()
    }
}

fn bytes_of(path: &std::path::Path) -> api::Word {
    use std::os::unix::ffi::OsStrExt as _;
    api::Word(path.as_os_str().as_bytes().to_vec())
}

fn mount(mount: &BindMount) -> api::Mount {
    api::Mount {
        source: bytes_of(mount.source()),
        target: bytes_of(mount.target()),
        read_only: mount.access() == Access::ReadOnly,
    }
}

fn unix_socket(socket: &HostSocket) -> api::UnixSocket {
    api::UnixSocket { host_path: bytes_of(socket.path()), name: socket.name().to_owned() }
}

fn words(words: &[Vec<u8>]) -> Vec<api::Word> {
    words.iter().cloned().map(api::Word).collect()
}

/// A command.
pub fn command(command: &Command, output_limit: Option<u64>) -> Result<api::CommandRequest> {
    Ok(api::CommandRequest {
        argv: words(&command.argv),
        env: variables(&command.env)?,
        cwd: command.cwd.clone().map(api::Word),
        user: command.user.map(|CommandUser { uid, gid }| format!("{uid}:{gid}")),
        stdin: match command.stdin {
            Stdin::Null => api::StdinMode::None,
            Stdin::Pipe => api::StdinMode::Pipe,
        },
        terminal: command.terminal.map(size),
        timeout_ms: command.timeout.map(milliseconds),
        output_limit,
        background: false,
    })
}

/// Variables; their names must be text, which is all that the API can say.
pub fn variables(variables: &[Variable]) -> Result<BTreeMap<String, api::Word>> {
    let variable = |(name, value): &Variable| {
        let name = String::from_utf8(name.clone()).map_err(|_| {
            let why = "the daemon takes names of variables only if they are UTF-8";
            Error::new(ErrorKind::Usage, "read the command line", why)
                .on(format!("-e {}", name.escape_ascii()))
        })?;
        Ok((name, api::Word(value.clone())))
    };
    variables.iter().map(variable).collect()
}

/// The size of a terminal.
pub fn size(size: TerminalSize) -> api::TerminalSize {
    api::TerminalSize { rows: size.rows, cols: size.cols }
}

/// A time; what was typed is never as short as to become nothing.
pub fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// How a command ended; `None` if nobody saw it.
pub fn exited(result: &api::CommandResult) -> Option<Exited> {
    let status = match (result.exit_code, result.signal) {
        (Some(code), _) => ExitStatus::Code(code),
        (None, Some(signal)) => ExitStatus::Signal(signal),
        (None, None) => return None,
    };
    let usage = result.usage.as_ref().map_or_else(Usage::default, usage);
    Some(Exited { status, timed_out: result.timed_out, usage })
}

/// What was used.
pub fn usage(usage: &api::Usage) -> Usage {
    Usage {
        user: Duration::from_nanos(usage.user_ns),
        system: Duration::from_nanos(usage.system_ns),
        max_rss_kib: usage.max_rss_kib,
        wall: Duration::from_nanos(usage.wall_ns),
    }
}

/// Where the daemon says that the time went, out of the whole that we have seen.
pub fn phases(phases: &api::Phases, total: Duration) -> Phases {
    let time = |ns: Option<u64>| ns.map(Duration::from_nanos);
    Phases {
        queue: time(phases.queue_ns),
        acquire: time(phases.acquire_ns),
        boot: time(phases.boot_ns),
        ready: time(phases.ready_ns),
        exec: time(phases.exec_ns),
        stop: time(phases.stop_ns),
        total,
    }
}

/// The one cause.
pub fn cause(cause: api::CauseOfDeath) -> CauseOfDeath {
    match cause {
        api::CauseOfDeath::Exited => CauseOfDeath::Exited,
        api::CauseOfDeath::Killed => CauseOfDeath::Killed,
        api::CauseOfDeath::Timeout => CauseOfDeath::Timeout,
        api::CauseOfDeath::Idle => CauseOfDeath::Idle,
        api::CauseOfDeath::OutOfMemory => CauseOfDeath::OutOfMemory,
        api::CauseOfDeath::BoundaryCrashed => CauseOfDeath::BoundaryCrashed,
        api::CauseOfDeath::HostPressure => CauseOfDeath::HostPressure,
        api::CauseOfDeath::Shutdown => CauseOfDeath::Shutdown,
    }
}

#[cfg(test)]
mod tests {
    use agentkernel_core::Profile;

    use super::*;

    #[test]
    fn a_description_arrives_as_it_is_meant() {
        let spec = SandboxSpec::builder(SandboxName::from_random(1), Profile::Moderate)
            .mount("/srv/a:/data:ro".parse().expect("a mount"));
        let said = sandbox(&spec.build().expect("valid"), BackendRequest::Auto, None, None);
        assert_eq!((said.name.as_deref(), said.backend.as_deref()), (None, Some("auto")));
        assert_eq!((said.profile.as_deref(), said.memory.as_deref()), (Some("moderate"), Some("2G")));
        assert_eq!(
            said.mounts,
            [api::Mount { source: "/srv/a".into(), target: "/data".into(), read_only: true }]
        );
        assert_eq!(said.user.as_deref(), Some("65532:65532"));
    }

    #[test]
    fn bytes_pass_and_names_of_variables_must_be_text() {
        let mut words = Command::new([b"printf".to_vec(), b"\xff".to_vec()]);
        words.env = vec![(b"A".to_vec(), b"1".to_vec()), (b"A".to_vec(), b"\xfe".to_vec())];
        let said = command(&words, Some(5)).expect("sayable");
        assert_eq!(said.argv[1].as_bytes(), b"\xff");
        assert_eq!(said.env["A"].as_bytes(), b"\xfe", "the last one holds");
        words.env = vec![(b"\xff".to_vec(), Vec::new())];
        assert_eq!(command(&words, None).expect_err("refused").kind, ErrorKind::Usage);
    }

    #[test]
    fn an_end_that_nobody_saw_is_no_exit() {
        assert_eq!(exited(&api::CommandResult::default()), None);
        let killed = api::CommandResult { signal: Some(9), timed_out: true, ..Default::default() };
        let exited = exited(&killed).expect("seen");
        assert_eq!((exited.status, exited.timed_out), (ExitStatus::Signal(9), true));
    }
}
