//! Attack 5 of the hardening goals: overwriting a program through `/proc/*/exe`, and an image with links in
//! the place of what the boundary mounts or hides.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use agentkernel_core::{
    Access, Availability, Backend as _, BindMount, Command, ErrorKind, Image, Profile, SandboxName,
    SandboxSpec,
};
use agentkernel_oci::plan::{Plan, Step};
use agentkernel_testkit::{available_or_skip, random_u64};
use serde_json::{Value, json};

use crate::images::rootfs;
use crate::support::{Fixture, exec, fixture};
use crate::{host, probe};

fn spec_of(image: Image, mount: Option<BindMount>) -> SandboxSpec {
    let name = SandboxName::from_random(random_u64());
    let builder = SandboxSpec::builder(name, Profile::Restrictive).image(image);
    mount.into_iter().fold(builder, agentkernel_core::SandboxSpecBuilder::mount).build().expect("valid")
}

/// What the probe says of all programs that run, while one from a read-only mount of the host's is among them.
async fn verdict(fixture: &Fixture, folder: &Path) -> Value {
    let mount = BindMount::new(folder, Path::new("/mnt/tools"), Access::ReadOnly).expect("valid");
    let spec = spec_of(Image::Host, Some(mount));
    let sandbox = fixture.backend.boot(&spec).await.expect("boots").sandbox;
    probe::put_into(&*sandbox).await;
    let running = sandbox.exec(&Command::new(["/mnt/tools/sleep", "1000"])).await.expect("it starts");
    let said = exec(&*sandbox, &[probe::PLACE, "proc-exe-write"]).await.text();
    drop(running);
    sandbox.stop().await.expect("stops");
    serde_json::from_str(&said).expect("one line")
}

#[tokio::test]
async fn a_program_of_the_hosts_can_be_overwritten_only_where_its_mount_was_made_writable() {
    let Some(hardened) = fixture().await else { return };
    let Some(weakened) = fixture().await.map(|fixture| fixture.weakened(mounts_for_writing)) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("sleep");
    fs::copy("/bin/sleep", &program).expect("copied");
    let before = fs::read(&program).expect("read");
    let line = verdict(&hardened, folder.path()).await;
    assert_eq!(line["verdict"], "BLOCKED", "{line}");
    // The kernel says only of a program that could be written to that it is busy.
    let line = verdict(&weakened, folder.path()).await;
    assert_eq!(line["verdict"], "OPEN", "{line}");
    assert!(fs::read(&program).expect("read") == before, "the probe only opens, and never writes");
}

fn mounts_for_writing(plan: &mut Plan) {
    for step in &mut plan.stage {
        if let Step::Bind { path, options, .. } = step
            && path.starts_with("mounts")
        {
            options.read_only = false;
        }
    }
    let mounts = plan.config["mounts"].as_array_mut().expect("a list");
    for mount in mounts.iter_mut().filter(|mount| mount["type"] == "bind") {
        for option in mount["options"].as_array_mut().expect("a list") {
            if option == "ro" {
                *option = json!("rw");
            }
        }
    }
}

#[tokio::test]
async fn not_even_the_hosts_root_can_change_the_guest_agent() {
    let is_root = if rustix::process::geteuid().is_root() {
        Availability::Available { facts: Vec::new() }
    } else {
        Availability::Unavailable { needs: "to be root".into(), hint: "run the tests as root".into() }
    };
    if !available_or_skip("root", &is_root) {
        return;
    }
    let Some(fixture) = fixture().await else { return };
    let sandbox = fixture.backend.boot(&spec_of(Image::Host, None)).await.expect("boots").sandbox;
    let init = host::init_of(&host::record(&fixture.runtime, &*sandbox)).pid;
    let program = fs::File::open(format!("/proc/{init}/exe")).expect("root may read it");
    let seals = rustix::fs::fcntl_get_seals(&program).expect("a memory file");
    let all = rustix::fs::SealFlags::WRITE
        | rustix::fs::SealFlags::GROW
        | rustix::fs::SealFlags::SHRINK
        | rustix::fs::SealFlags::SEAL;
    assert!(seals.contains(all), "{seals:?}");
    sandbox.stop().await.expect("stops");
}

#[tokio::test]
async fn an_image_whose_own_proc_is_used_is_refused_or_told() {
    let folder = tempfile::tempdir().expect("a folder");
    // Its /proc is a link.
    let Some(()) = rootfs(folder.path()) else { return };
    let Some(fixture) = fixture().await.map(|fixture| fixture.weakened(own_proc)) else { return };
    let booted = fixture.backend.boot(&spec_of(Image::Rootfs(folder.path().to_owned()), None)).await;
    match booted {
        Err(error) => assert_eq!(error.kind, ErrorKind::Boot, "{error}"),
        Ok(booted) => {
            let posture = booted.sandbox.posture().await.expect("readable");
            booted.sandbox.stop().await.expect("stops");
            assert!(!posture.holds(), "a link of the image led /proc elsewhere, and nobody says so");
        }
    }
}

/// The image's /proc instead of the boundary's.
fn own_proc(plan: &mut Plan) {
    plan.stage.retain(|step| !matches!(step, Step::Folder { path, .. } if path.ends_with("proc")));
    for step in &mut plan.stage {
        if let Step::Entries { except, .. } = step {
            except.retain(|name| name != "proc");
        }
    }
}

#[tokio::test]
async fn no_hidden_path_is_the_images_to_replace() {
    let paths = Arc::new(Mutex::new(Vec::new()));
    let seen = paths.clone();
    let note = move |plan: &mut Plan| {
        let hidden = plan.config["linux"]["maskedPaths"].as_array().expect("a list");
        seen.lock()
            .expect("nobody panicked")
            .extend(hidden.iter().map(|path| path.as_str().map(str::to_owned)));
    };
    let Some(fixture) = fixture().await.map(|fixture| fixture.weakened(note)) else { return };
    let sandbox = fixture.backend.boot(&spec_of(Image::Host, None)).await.expect("boots").sandbox;
    sandbox.stop().await.expect("stops");
    let paths = paths.lock().expect("nobody panicked");
    let is_kernels = |path: &Option<String>| path.as_ref().is_some_and(|path| path.starts_with("/proc/"));
    assert!(!paths.is_empty() && paths.iter().all(is_kernels), "{paths:?}");
}
