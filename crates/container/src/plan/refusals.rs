//! What an engine cannot enforce, by the name of the field.

use agentkernel_core::{BindMount, Error, ErrorKind, Image, Network, Result, SandboxSpec};

pub(super) fn refuse_what_cannot_be_enforced(spec: &SandboxSpec) -> Result<()> {
    let Network::None = spec.network();
    if let Image::Rootfs(folder) = spec.image() {
        let why = "an engine makes containers of images and not of folders";
        return Err(refused(format!("root folder {}", folder.display()), why)
            .hint("leave the folder out, or use --backend oci"));
    }
    if let Image::Module(module) = spec.image() {
        let why = "an engine runs Linux programs";
        return Err(refused(format!("module {}", module.path().display()), why).hint("use --backend wasm"));
    }
    if spec.user().uid == 0 || spec.user().gid == 0 {
        // CAP_DAC_OVERRIDE or not: files of the host that are mounted are its root's.
        let why = "an engine's containers share the ids of the host, so that root inside would be its root";
        return Err(refused(format!("user {}", spec.user()), why).hint("use --backend oci, or another user"));
    }
    spec.mounts().iter().try_for_each(refuse_mount)
}

fn refuse_mount(mount: &BindMount) -> Result<()> {
    let named = format!("mount {}", mount.source().display());
    if mount.source().to_str().is_none() || mount.target().to_str().is_none() {
        return Err(
            refused(named, "an engine takes paths of UTF-8 alone").hint("rename it, or use --backend oci")
        );
    }
    Ok(())
}

pub(super) fn refused(subject: String, why: &str) -> Error {
    Error::new(ErrorKind::ControlRefused, "start the sandbox", why).on(subject)
}
