//! What a module cannot be given, by the name of the field.

use agentkernel_core::{
    ByteSize, Command, Error, ErrorKind, Image, Limit, ModuleFile, Network, Result, SandboxSpec,
};

/// Most memory of a module: all that 32 bits can address.
const MEMORY_MAX: usize = 4 << 30;

/// What of a description matters to a module.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) file: ModuleFile,
    pub(crate) memory_bytes: usize,
    /// Commands at once.
    pub(crate) commands: usize,
    /// Processors at once.
    pub(crate) processors: usize,
}

/// Takes from a description what can be enforced, and refuses the rest. Disk and open files are limited by there being
/// none; a user is nobody that a module could be.
pub(crate) fn wanted(spec: &SandboxSpec) -> Result<Wanted> {
    let Network::None = spec.network();
    let Image::Module(file) = spec.image() else {
        return Err(refused("image", "this backend runs Wasm modules alone").hint("name one with --module"));
    };
    if let Some(mount) = spec.mounts().first() {
        let why = "a module's open files cannot be limited, so it gets none";
        return Err(
            refused(&format!("mount {}", mount.source().display()), why).hint("hand it its input on stdin")
        );
    }
    if spec.host_socket().is_some() {
        return Err(refused("unix socket", "a Wasm module has no sockets"));
    }
    if spec.warm_up().is_some() {
        return Err(refused("warm-up", "a module leaves nothing behind that another run of it would find"));
    }
    let limits = spec.limits();
    let at_once = |limit: Option<u32>| usize::try_from(limit.unwrap_or(u32::MAX)).unwrap_or(usize::MAX);
    let processors = at_once(limits.cpus.value().map(|cpus| cpus.as_milli() / 1000));
    if processors == 0 {
        let why = "a module has a whole processor while it computes, and less cannot be enforced";
        return Err(refused(&format!("cpus {}", limits.cpus), why).hint("use --cpus 1"));
    }
    let memory = match limits.memory {
        Limit::At(size) => usize::try_from(ByteSize::get(size)).unwrap_or(MEMORY_MAX).min(MEMORY_MAX),
        Limit::Unlimited => MEMORY_MAX,
    };
    let commands = at_once(limits.pids.value());
    Ok(Wanted { file: file.clone(), memory_bytes: memory, commands, processors })
}

/// The words and variables of a command, which WASI takes as text.
pub(crate) struct Words {
    pub(crate) arguments: Vec<String>,
    pub(crate) variables: Vec<(String, String)>,
}

/// Takes from a command what a module can be given, and refuses the rest.
pub(crate) fn words(command: &Command) -> Result<Words> {
    let refused = |subject: &str, why: &str| {
        Err(Error::new(ErrorKind::CommandRefused, "start the command", why).on(subject))
    };
    if command.terminal.is_some() {
        return refused("terminal", "a Wasm module has none");
    }
    if let Some(cwd) = &command.cwd {
        return refused(
            &cwd.escape_ascii().to_string(),
            "a Wasm module has no files, and no working directory",
        );
    }
    if let Some(user) = command.user {
        return refused(&format!("user {}:{}", user.uid, user.gid), "a Wasm module has no users");
    }
    let mut words = Words { arguments: Vec::new(), variables: Vec::new() };
    for word in &command.argv {
        let Some(text) = text_of(word) else {
            return refused(
                &word.escape_ascii().to_string(),
                "WASI takes words of UTF-8 alone, without zero bytes",
            );
        };
        words.arguments.push(text);
    }
    for (name, value) in &command.env {
        let (Some(name), Some(value)) = (text_of(name), text_of(value)) else {
            let why = "WASI takes variables of UTF-8 alone, without zero bytes";
            return refused(&name.escape_ascii().to_string(), why);
        };
        words.variables.push((name, value));
    }
    Ok(words)
}

fn text_of(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok().filter(|text| !text.contains('\0'))
}

fn refused(subject: &str, why: &str) -> Error {
    Error::new(ErrorKind::ControlRefused, "start the sandbox", why).on(subject)
}
