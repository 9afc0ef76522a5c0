//! From a description to a VMM that has called on both of its sockets.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agentkernel_core::{DuplexStream, Error, ErrorKind, Image, Result, SandboxName, SandboxSpec};
use agentkernel_hardening::etc;
use agentkernel_hardening::layout::program_folders;
use agentkernel_hardening::seccomp::SeccompFilters;
use agentkernel_link::GUEST;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::QemuBackend;
use crate::cpio::Archive;
use crate::folder::PrivateFolder;
use crate::identity::OwnId;
use crate::image::ImageStore;
use crate::layout::{self, Entry, FILTERS, LAYER, Size};
use crate::plan::{Accelerator, CONTROL, INITRAMFS, STREAM, VmPlan};
use crate::probe::Tools;
use crate::qmp::Qmp;
use crate::state::State;
use crate::vmm::{Launch, Vmm};

const WHAT: &str = "start the sandbox";

/// How long a VMM may take until it has called on both sockets, and answers: its own start, and the reading of the kernel.
const CALL_DEADLINE: Duration = Duration::from_secs(20);

/// How long it may take to answer a question.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

/// Largest file of the host's /etc that is taken into a machine's memory, bytes: the list of certificates has 200 kB.
const ETC_FILE_MAX: u64 = 2 << 20;

/// What a machine holds on the host as long as it lives, beside its VMM.
#[derive(Debug)]
pub(crate) struct Holdings {
    /// Its name is taken by it.
    folder: PrivateFolder,
    user: Option<OwnId>,
}

/// A VMM that has called.
pub(super) struct Started {
    pub(super) holdings: Holdings,
    pub(super) plan: VmPlan,
    pub(super) vmm: Vmm,
    pub(super) qmp: Qmp,
    pub(super) stream: Box<dyn DuplexStream>,
}

impl QemuBackend {
    pub(super) async fn start(&self, spec: &SandboxSpec) -> Result<Started> {
        let size = layout::size(spec)?;
        let tools = self.tools()?;
        let root = root_device(&tools, spec).await?;
        let above = self.settings.runtime_dir.join("microvm");
        let host = |why: io::Error| Error::new(ErrorKind::Host, WHAT, why).on(above.display());
        let holdings = Holdings::take(&above, spec.name())?;
        let plan = plan(&tools, spec, size, holdings.user());
        let path = |name: &str| holdings.folder.path().join(name);
        fs::write(path(INITRAMFS), self.initramfs(&tools, spec)?).map_err(host)?;
        let listen = |name: &str| UnixListener::bind(path(name)).map_err(host);
        let (stream, control) = (listen(STREAM)?, listen(CONTROL)?);
        holdings.give().map_err(host)?;
        let failed = |why: io::Error| Error::new(ErrorKind::Boot, WHAT, why).on(spec.name());
        let launch = Launch {
            setpriv: &tools.setpriv,
            program: &tools.qemu,
            given: [&self.store(&tools.home).image(), &root, holdings.folder.path()],
            user: holdings.user.as_ref().map(OwnId::get),
            group: kvm_group(tools.accelerator),
        };
        let vmm = Vmm::start(&launch, &plan.argv()).map_err(failed)?;
        // From here on an error drops it, which ends it.
        let (stream, qmp) = match self.calls(&vmm, &stream, &control).await {
            Ok(called) => called,
            Err(why) => {
                vmm.kill();
                let why = format!("in phase {}: {why}{}", State::Configured, vmm.end().last_words().await);
                return Err(Error::new(ErrorKind::Boot, WHAT, why).on(spec.name()));
            }
        };
        // The VMM has read what it needed, and nobody else can call.
        holdings.folder.clear().map_err(host)?;
        Ok(Started { holdings, plan, vmm, qmp, stream: Box::new(stream) })
    }

    /// Waits until the VMM has called on both sockets and answers, unless it ends first.
    async fn calls(
        &self,
        vmm: &Vmm,
        stream: &UnixListener,
        control: &UnixListener,
    ) -> Result<(UnixStream, Qmp), String> {
        let patience = self.at_most(CALL_DEADLINE);
        let both = async {
            let (stream, control) = tokio::try_join!(call_of(vmm, stream), call_of(vmm, control))?;
            Ok::<_, io::Error>((stream, Qmp::greet(control, self.at_most(ANSWER_DEADLINE)).await?))
        };
        tokio::select! {
            // Whatever else it does: one that has ended has said why.
            biased;
            how = vmm.ended() => Err(format!("the VMM {how}")),
            both = timeout(patience, both) => match both {
                Ok(Ok(both)) => Ok(both),
                Ok(Err(why)) => Err(format!("the VMM: {why}")),
                Err(_) => Err(format!("the VMM has not called and answered within {} ms", patience.as_millis())),
            },
        }
    }

    fn initramfs(&self, tools: &Tools, spec: &SandboxSpec) -> Result<Vec<u8>> {
        let failed = |why: io::Error| {
            Error::new(ErrorKind::Host, "make the initramfs", why).hint("agentkernel setup microvm")
        };
        let mut archive = Archive::default();
        for folder in ["dev", "proc", "sys", "groups", "image", "new"] {
            archive.folder(folder, 0o755);
        }
        archive.character_device("dev/console", (5, 1));
        archive.file("init", GUEST, 0o700);
        let mut modules = Vec::new();
        for (name, content) in self.store(&tools.home).modules(&tools.kernel).map_err(failed)? {
            archive.file(&format!("agentkernel/{name}"), &content, 0o600);
            modules.push(format!("/agentkernel/{name}"));
        }
        archive.file("agentkernel/steps", layout::steps(spec, &modules).as_bytes(), 0o600);
        let filters = SeccompFilters::compile().map_err(|why| failed(io::Error::other(why)))?;
        archive.file(&format!("{LAYER}/{FILTERS}"), &filters.bytes(), 0o444);
        add_layer(&mut archive, spec).map_err(failed)?;
        Ok(archive.finish())
    }
}

fn plan(tools: &Tools, spec: &SandboxSpec, size: Size, user: u32) -> VmPlan {
    VmPlan {
        name: spec.name().clone(),
        accelerator: tools.accelerator,
        counter_khz: counter_khz(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
        memory_mib: size.memory_mib,
        processors: size.processors,
        user,
    }
}

impl Holdings {
    fn take(above: &Path, name: &SandboxName) -> Result<Self> {
        let folder = PrivateFolder::make(above, name.as_str()).map_err(|why| match why.kind() {
            io::ErrorKind::AlreadyExists => {
                let why = "another sandbox has this name";
                Error::new(ErrorKind::NameTaken, WHAT, why)
                    .on(name)
                    .hint("choose another name, or stop that one")
            }
            _ => Error::new(ErrorKind::Host, WHAT, why).on(above.display()),
        })?;
        let user = OwnId::take().map_err(|why| Error::new(ErrorKind::Host, "take an id for the VMM", why))?;
        Ok(Self { folder, user })
    }

    /// As whom the VMM runs.
    fn user(&self) -> u32 {
        self.user.as_ref().map_or_else(|| rustix::process::geteuid().as_raw(), OwnId::get)
    }

    /// Lets the VMM into the folder.
    fn give(&self) -> io::Result<()> {
        self.user.as_ref().map_or(Ok(()), |user| self.folder.give(user.get()))
    }
}

/// The group that may use the processor's virtualisation where not everybody may: never root's.
fn kvm_group(accelerator: Accelerator) -> Option<u32> {
    let facts = (accelerator == Accelerator::Kvm).then(|| fs::metadata("/dev/kvm").ok()).flatten()?;
    (facts.mode() & 0o006 != 0o006 && facts.mode() & 0o060 == 0o060 && facts.gid() != 0).then(|| facts.gid())
}

/// Frequency of the time stamp counter, kHz: Linux tells its own loops, of which there are two in each of its ticks, in
/// millions a second (`arch/x86/kernel/cpu/proc.c`).
fn counter_khz(cpuinfo: &str) -> Option<u64> {
    let line = cpuinfo.lines().find(|line| line.starts_with("bogomips"))?;
    let (whole, part) = line.split_once(':')?.1.trim().split_once('.')?;
    let hundredths = part.get(..2)?.parse::<u64>().ok()? + whole.parse::<u64>().ok()?.checked_mul(100)?;
    Some(hundredths * 5).filter(|khz| *khz > 0)
}

/// One call, by the VMM and nobody else.
async fn call_of(vmm: &Vmm, listener: &UnixListener) -> io::Result<UnixStream> {
    let (stream, _) = listener.accept().await?;
    let caller = stream.peer_cred()?.pid();
    if caller == Some(vmm.pid().as_raw_pid()) {
        return Ok(stream);
    }
    Err(io::Error::other(format!("process {caller:?} has called in its place")))
}

async fn root_device(tools: &Tools, spec: &SandboxSpec) -> Result<PathBuf> {
    let (image, images) = (spec.image().clone(), ImageStore::below(&tools.home, &tools.mke2fs));
    let make = move || match image {
        Image::Rootfs(folder) => images.of_folder(&folder),
        // Others than the host's programs were refused.
        _ => images.of_programs(Path::new("/usr")),
    };
    let made = tokio::task::spawn_blocking(make).await;
    made.map_err(|why| Error::new(ErrorKind::Internal, "make the root device", why))?
}

/// The sandbox's own files, and for the host's programs what they need of /etc.
fn add_layer(archive: &mut Archive, spec: &SandboxSpec) -> io::Result<()> {
    let linked = program_folders()
        .into_iter()
        .filter_map(|(name, target)| Some((name, target?.to_string_lossy().into_owned())));
    let folders: Vec<_> = linked.collect();
    for entry in layout::layer(spec, &folders) {
        match entry {
            Entry::Folder(path, mode) => archive.folder(&format!("{LAYER}/{path}"), mode),
            Entry::File(path, content) => archive.file(&format!("{LAYER}/{path}"), &content, 0o644),
            Entry::Link(path, target) => archive.link(&format!("{LAYER}/{path}"), &target),
        }
    }
    if *spec.image() == Image::Host {
        for name in etc::HOST_FOLDERS.iter().chain(etc::HOST_FILES) {
            add_tree(archive, &Path::new("/etc").join(name), &format!("{LAYER}/etc/{name}"))?;
        }
    }
    Ok(())
}

/// Files, folders and links; what is not there, or is something else, is left out.
fn add_tree(archive: &mut Archive, from: &Path, to: &str) -> io::Result<()> {
    let Ok(facts) = fs::symlink_metadata(from) else { return Ok(()) };
    if facts.is_symlink() {
        archive.link(to, &fs::read_link(from)?.to_string_lossy());
    } else if facts.is_file() && facts.len() <= ETC_FILE_MAX {
        archive.file(to, &fs::read(from)?, 0o644);
    } else if facts.is_dir() {
        archive.folder(to, 0o755);
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            add_tree(archive, &entry.path(), &format!("{to}/{}", entry.file_name().to_string_lossy()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_frequency_is_half_of_what_linux_tells() {
        assert_eq!(counter_khz("cpu MHz\t\t: 1.0\nbogomips\t: 5192.28\n"), Some(2_596_140));
        assert_eq!(counter_khz("bogomips\t: 5192\n"), None);
        assert_eq!(counter_khz(""), None);
    }
}
