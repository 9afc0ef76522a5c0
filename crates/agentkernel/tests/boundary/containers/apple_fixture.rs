//! The backend of Apple's container, on a stand-in of the test's own.

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
pub fn apple_settings(apple: &TestApple, home: &std::path::Path) -> EngineSettings {
    EngineSettings {
        search_path: vec![apple.search_path()],
        runtime_dir: home.to_owned(),
        system: HostSystem { name: "Darwin".into(), release: "25.0.0".into() },
        ..EngineSettings::default()
    }
}

/// A backend on a stand-in that has an image, or `None` after a loud skip.
pub async fn apple_fixture() -> Option<AppleFixture> {
    let apple = TestApple::start()?;
    apple.engine().import_busybox(IMAGE, &["ENV GREETING=hello"], |_| {})?;
    let home = tempfile::tempdir().expect("a folder");
    let backend = AppleBackend::new(apple_settings(&apple, home.path()));
    available_or_skip("podman", &backend.probe().await).then_some(AppleFixture { backend, apple, home })
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
