//! What an engine cannot enforce, by the name of the field.

use agentkernel_core::{BindMount, Error, ErrorKind, Image, ModuleFile, Network, Result, SandboxSpec};

pub(super) fn refuse_what_cannot_be_enforced(spec: &SandboxSpec) -> Result<()> {
    let Network::None = spec.network();
    if let Image::Rootfs(folder) = spec.image() {
        let why = "an engine makes containers of images and not of folders";
        return Err(refused(format!("root folder {}", folder.display()), why)
            .hint("leave the folder out, or use --backend oci"));
    }
    if let Image::Module(module) = spec.image() {
        return Err(runs_no_module(module));
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

/// The refusal of a Wasm module.
pub(crate) fn runs_no_module(module: &ModuleFile) -> Error {
    let named = format!("module {}", module.path().display());
    refused(named, "an engine runs Linux programs").hint("use --backend wasm")
}

pub(super) fn refused(subject: String, why: &str) -> Error {
    Error::new(ErrorKind::ControlRefused, "start the sandbox", why).on(subject)
}
