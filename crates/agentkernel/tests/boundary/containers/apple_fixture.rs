//! The backend of Apple's container, on a stand-in of the test's own.

use std::path::Path;

use agentkernel_container::{AppleBackend, EngineSettings, HostSystem};
use agentkernel_core::{Backend as _, Image, Profile, SandboxName, SandboxSpec, SandboxSpecBuilder};
use agentkernel_testkit::{TestApple, available_or_skip, random_u64};

/// The image that the stand-in has.
pub const IMAGE: &str = "example.org/test/box:1.0";

/// A backend, and the stand-in that it drives.
pub struct AppleFixture {
    pub backend: AppleBackend,
    pub apple: TestApple,
    pub home: tempfile::TempDir,
}

/// What the program would say of a Mac whose `container` is the stand-in.
pub fn apple_settings(apple: &TestApple, home: &Path) -> EngineSettings {
    apple_settings_of(&apple.search_path(), home)
}

/// The same of the folder that the stand-in is in.
pub fn apple_settings_of(folder: &Path, home: &Path) -> EngineSettings {
    EngineSettings {
        search_path: vec![folder.to_owned()],
        runtime_dir: home.to_owned(),
        system: HostSystem { name: "Darwin".into(), release: "25.0.0".into() },
        ..EngineSettings::default()
    }
}

/// A backend on a stand-in that has an image, or `None` after a loud skip.
pub async fn apple_fixture() -> Option<AppleFixture> {
    let apple = TestApple::start()?;
    apple.engine().import_busybox(IMAGE, &[], libraries)?;
    let home = tempfile::tempdir().expect("a folder");
    let backend = AppleBackend::new(apple_settings(&apple, home.path()));
    available_or_skip("podman", &backend.probe().await).then_some(AppleFixture { backend, apple, home })
}

/// What programs of this build need of the system, the attack probe among them: the loader and the libraries of this very
/// test, and of those beside them what only others have.
fn libraries(root: &Path) {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("read");
    let mapped = maps.lines().filter_map(|line| line.split_whitespace().nth(5)).map(Path::new);
    let is_library =
        |path: &&Path| path.file_name().is_some_and(|name| name.to_string_lossy().contains(".so"));
    // Of busybox's words, this one does not say why it failed; and its shell knows no other than its own.
    std::fs::copy("/usr/bin/head", root.join("usr/bin/head")).expect("copied");
    std::fs::remove_file(root.join("bin/sh")).expect("it was linked");
    std::fs::copy("/bin/sh", root.join("bin/sh")).expect("copied");
    for path in mapped.filter(is_library) {
        let beside = path.with_file_name("libgcc_s.so.1");
        for path in [path, &beside].into_iter().filter(|path| path.is_file()) {
            let name = path.file_name().expect("it has a name");
            for folder in ["lib", "lib64"] {
                std::fs::create_dir_all(root.join(folder)).expect("made");
                std::fs::copy(path, root.join(folder).join(name)).expect("copied");
            }
        }
    }
}

/// The image as a description has it.
pub fn image() -> Image {
    Image::Named(IMAGE.parse().expect("a name"))
}

/// A restrictive sandbox of the image, with a name that no other test has.
pub fn apple_spec() -> SandboxSpecBuilder {
    let name = SandboxName::from_random(random_u64());
    SandboxSpec::builder(name, Profile::Restrictive).image(image())
}
