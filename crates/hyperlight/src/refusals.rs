//! What a micro VM cannot be given, by the name of the field.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use agentkernel_core::{
    ByteSize, Command, Error, ErrorKind, Image, Limit, Network, Result, SandboxSpec, Stdin,
};

use crate::sandbox::House;
use crate::wire::{Plan, Root, Words};

/// Least memory of a machine, MiB: the kernel and our agent need 40 of them.
const MEMORY_MIB_MIN: u64 = 64;

/// Most, MiB: Hyperlight's own limit of the memory that a guest writes to is 16 GiB less a page.
const MEMORY_MIB_MAX: u64 = 8 << 10;

/// What every command has, unless it says otherwise.
const VARIABLES: [(&[u8], &[u8]); 2] =
    [(b"PATH", b"/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"), (b"HOME", b"/tmp")];

/// The folder of a command that names none. It is in memory, and gone with the command.
const CWD: &[u8] = b"/tmp";

/// Takes from a description what can be enforced, and refuses the rest. Processes and open files are the machine's own,
/// in its own memory, and none of the host's; inside there is one user, the kernel's equal.
pub(crate) fn plan(spec: &SandboxSpec, cache: Option<&Path>) -> Result<Plan> {
    let Network::None = spec.network();
    let root = match spec.image() {
        Image::Host => Root::Host,
        Image::Rootfs(folder) => Root::Folder(folder.as_os_str().as_bytes().to_vec()),
        Image::Named(name) => {
            let why = "this backend keeps no images";
            return Err(refused(&format!("image {name}"), why).hint("name a folder with --rootfs"));
        }
        Image::Module(file) => Root::Module { file: file.clone(), cache: cache.map(Path::to_owned) },
    };
    if let Some(mount) = spec.mounts().first() {
        let why = "a machine has no folders of the host";
        let error = refused(&format!("mount {}", mount.source().display()), why);
        return Err(error.hint("copy what it needs into the folder of --rootfs, or hand it in on stdin"));
    }
    if spec.host_socket().is_some() {
        return Err(refused("unix socket", "a machine has no way to the host"));
    }
    if spec.warm_up().is_some() {
        return Err(refused("warm-up", "each command has a machine in which nothing has run"));
    }
    let limits = spec.limits();
    if limits.cpus.value().is_some_and(|cpus| cpus.as_milli() < 1000) {
        let why = "a machine has one whole processor while it computes, and less cannot be enforced";
        return Err(refused(&format!("cpus {}", limits.cpus), why).hint("use --cpus 1"));
    }
    Ok(Plan { root, memory_mib: memory_mib(limits.memory)?, user: None })
}

fn memory_mib(limit: Limit<ByteSize>) -> Result<usize> {
    let Limit::At(size) = limit else {
        let why = "a machine has as much as it is made with";
        return Err(refused("memory unlimited", why).hint("use --memory 512M"));
    };
    let mib = size.get() >> 20;
    if !(MEMORY_MIB_MIN..=MEMORY_MIB_MAX).contains(&mib) {
        let why = format!("a machine has between {MEMORY_MIB_MIN} MiB and {MEMORY_MIB_MAX} MiB");
        return Err(refused(&format!("memory {size}"), &why).hint("use --memory 512M"));
    }
    usize::try_from(mib).map_err(|why| refused("memory", &why.to_string()))
}

/// Takes from a command what a machine can be given, and refuses the rest.
pub(crate) fn words(command: &Command, house: &House) -> Result<Words> {
    let not = |subject: &str, why: &str| {
        Err(Error::new(ErrorKind::CommandRefused, "start the command", why).on(subject))
    };
    if command.terminal.is_some() {
        return not("terminal", "a machine has none");
    }
    if let Some(user) = command.user {
        return not(&format!("user {}:{}", user.uid, user.gid), "a machine has no users");
    }
    if let (true, Some(cwd)) = (house.has_module, &command.cwd) {
        return not(&cwd.escape_ascii().to_string(), "a Wasm module has no files, and no working directory");
    }
    let words = Words {
        argv: command.argv.clone(),
        env: variables(command, house.has_module),
        cwd: command.cwd.clone().unwrap_or_else(|| CWD.to_vec()),
        has_stdin: command.stdin == Stdin::Pipe,
    };
    let variables = words.env.iter().flat_map(|(name, value)| [name, value]);
    for word in words.argv.iter().chain([&words.cwd]).chain(variables) {
        let told = || word.escape_ascii().to_string();
        if word.contains(&0) {
            return not(&told(), "no word of a command can have a zero byte");
        }
        if house.has_module && std::str::from_utf8(word).is_err() {
            return not(&told(), "WASI takes words and variables of UTF-8 alone");
        }
    }
    Ok(words)
}

/// A module has those that it is given, a program what every one has besides.
fn variables(command: &Command, has_module: bool) -> Vec<(Vec<u8>, Vec<u8>)> {
    let usual = VARIABLES.iter().filter(|_| !has_module);
    let mut env: Vec<_> = usual.map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    for (name, value) in &command.env {
        env.retain(|(before, _)| before != name);
        env.push((name.clone(), value.clone()));
    }
    env
}

fn refused(subject: &str, why: &str) -> Error {
    Error::new(ErrorKind::ControlRefused, "start the sandbox", why).on(subject)
}
