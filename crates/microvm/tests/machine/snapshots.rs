//! Machines that continue from a snapshot: each is itself, and a snapshot that is not what it was is never used.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use agentkernel_core::{Backend as _, ExitStatus, Sandbox, SandboxSpec};
use agentkernel_microvm::MicrovmBackend;

use crate::faults::vmm_of;
use crate::fixture::{Fixture, fixture};
use crate::past::{own, said};

/// A home of its own, with the kernel of the fixture's.
pub struct Home {
    pub backend: MicrovmBackend,
    pub folder: PathBuf,
}

pub fn home(fixture: &Fixture) -> Home {
    let mut settings = fixture.backend_settings();
    let folder = fixture.runtime.path().join("home");
    fs::create_dir(&folder).expect("made");
    let kernel = settings.home.as_ref().expect("a home").join("kernel");
    std::os::unix::fs::symlink(kernel, folder.join("kernel")).expect("linked");
    (settings.home, settings.snapshots) = (Some(folder.clone()), true);
    Home { backend: MicrovmBackend::qemu(settings), folder }
}

impl Home {
    /// A sandbox, and whether it continues from a snapshot.
    async fn boot(&self, spec: &SandboxSpec) -> (Box<dyn Sandbox>, bool) {
        let began = Instant::now();
        let sandbox = self.backend.boot(spec).await.expect("booted").sandbox;
        let pid = vmm_of(spec.name().as_str()).as_raw_pid();
        let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("it runs");
        let continues = words.contains("-incoming");
        println!("{} in {:?}", if continues { "continued" } else { "booted" }, began.elapsed());
        (sandbox, continues)
    }

    /// The files of the snapshots that count.
    fn states(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.folder.join("snapshots")).into_iter().flatten().flatten();
        let is_state = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "state");
        files.map(|entry| entry.path()).filter(is_state).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_of_one_snapshot_share_no_secret_no_name_and_not_its_time() {
    let Some(fixture) = fixture().await else { return };
    let home = home(&fixture);
    let mut seen = BTreeSet::new();
    for number in 0..3 {
        let spec = fixture.spec().build().expect("sound");
        let (sandbox, continues) = home.boot(&spec).await;
        assert!(continues, "the first one made a snapshot, and continues from it as well");
        assert_eq!(home.states().len(), 1);
        let own = own(&*sandbox).await;
        assert_eq!(own[3], spec.name().as_str());
        assert!(own[0].len() == 32 && own[0].bytes().all(|byte| byte.is_ascii_hexdigit()), "{own:?}");
        seen.extend(own);
        assert_eq!(seen.len(), 4 * (number + 1), "two of one snapshot have the same: {seen:?}");
        let clock: u64 = said(&*sandbox, &["date", "+%s"]).await.text().parse().expect("a number");
        let ours = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        assert!(clock.abs_diff(ours) <= 5, "the guest's clock says {clock}, ours {ours}");
        assert!(sandbox.posture().await.expect("read").holds());
        // Nobody but us can write to what others continue from.
        let pid = vmm_of(spec.name().as_str()).as_raw_pid();
        let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("listed").flatten();
        for descriptor in open.filter(|fd| fs::read_link(fd.path()).is_ok_and(|path| is_state(&path))) {
            let facts =
                fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", descriptor.file_name().display()));
            let flags = facts
                .expect("read")
                .lines()
                .find_map(|line| line.strip_prefix("flags:\t").map(str::to_owned));
            assert!(flags.expect("flags").ends_with('0'), "it can be written to");
        }
        sandbox.stop().await.expect("stopped");
    }
}

fn is_state(path: &Path) -> bool {
    path.extension().is_some_and(|kind| kind == "state")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_cut_off_or_changed_is_made_anew() {
    let Some(fixture) = fixture().await else { return };
    let home = home(&fixture);
    let spec = || fixture.spec().build().expect("sound");
    home.boot(&spec()).await.0.stop().await.expect("stopped");
    let state = home.states().pop().expect("a snapshot");
    let whole = fs::read(&state).expect("read");
    fs::write(&state, &whole[..whole.len() / 2]).expect("cut off");
    let (sandbox, continues) = home.boot(&spec()).await;
    assert!(continues);
    assert_eq!(said(&*sandbox, &["true"]).await.exited.status, ExitStatus::Code(0));
    sandbox.stop().await.expect("stopped");
    assert_eq!(home.states(), std::slice::from_ref(&state));
    assert!(fs::read(&state).expect("read").len() > whole.len() / 2, "it was made anew");
}
