//! Root folders of images and of folders, by engines that behave and by one that does not.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

use agentkernel_testkit::{TestEngine, tool_or_skip};
use serde_json::Value;

use super::{Bench, SYSTEM_PATH, Said, can_measure, fake};

const WORDS: &[&str] =
    &["--iterations", "2", "--warm-ups", "0", "--metrics", "warm_start", "--keep-page-cache"];

/// The digest that the fake engine tells.
const DIGEST: &str = "sha256:8f3b2e1d8f3b2e1d8f3b2e1d8f3b2e1d8f3b2e1d8f3b2e1d8f3b2e1d8f3b2e1d";

/// Its words: `@LOG@` is where it writes what it was told, `@CREATE@` and `@EXPORT@` what it does then.
const FAKE: &str = r#"echo "$*" >>'@LOG@'
case $1 in
  version) echo 1.2.3;;
  ps) ;;
  create) @CREATE@;;
  container) echo sha256:0c;;
  image) echo busybox@@DIGEST@; echo sha256:0c;;
  export) @EXPORT@;;
  rm) ;;
  *) exit 9;;
esac"#;

/// How a run ends with such an engine, and what that was told. Nothing is left of it.
fn misled(image: &str, create: &str, export: &str) -> (Said, String) {
    let bench = Bench::new();
    let before = bench.left();
    let log = bench.folder("log").join("told");
    let script = FAKE.replace("@LOG@", &log.display().to_string()).replace("@DIGEST@", DIGEST);
    let path = fake(&bench, "docker", &script.replace("@CREATE@", create).replace("@EXPORT@", export));
    let said = bench.run(WORDS, &[("PATH", &path), ("BENCH_IMAGE", image)]);
    assert_eq!((said.code, &*said.stdout), (Some(125), ""), "{}", said.stderr);
    assert!(!bench.folder("results").join("results.json").exists());
    assert_eq!(bench.left(), before);
    (said, fs::read_to_string(log).expect("it was told something"))
}

/// That the container which was to be made was removed, whatever became of it.
fn assert_removed(told: &str) {
    let created = told.lines().find(|line| line.starts_with("create ")).expect("it was told to");
    let name = created.split_whitespace().nth(2).expect("a name");
    assert!(name.starts_with("agentkernel-bench-"), "{created}");
    assert!(
        told.lines().last().expect("a line").ends_with(&format!("rm --force --volumes -- {name}")),
        "{told}"
    );
}

#[test]
fn an_image_without_an_engine_is_told_with_both_reasons_and_the_way_out() {
    let bench = Bench::new();
    let nothing = bench.folder("nothing").display().to_string();
    let said = bench.run(&[], &[("PATH", &nothing), ("BENCH_IMAGE", "busybox")]);
    assert_eq!((said.code, &*said.stdout), (Some(125), ""));
    let reasons = "find a container engine: busybox: docker: it is not on PATH; podman: it is not on PATH";
    assert!(said.stderr.contains(reasons), "{}", said.stderr);
    assert!(said.stderr.contains("hint: apt-get install docker.io"), "{}", said.stderr);
    assert!(said.stderr.contains("BENCH_ROOTFS"), "{}", said.stderr);

    let path = fake(&bench, "docker", "echo Cannot connect to the daemon. >&2; exit 1");
    let path = path.split(':').next().expect("the fake's folder");
    let said = bench.run(&[], &[("PATH", path), ("BENCH_IMAGE", "busybox")]);
    assert_eq!(said.code, Some(125));
    // The tests' environment names a Docker, in whose place no other engine comes.
    assert!(said.stderr.contains("docker: exit status: 1: Cannot connect to the daemon."), "{}", said.stderr);
    assert!(!said.stderr.contains("podman"), "{}", said.stderr);
}

#[test]
fn an_image_that_the_engine_does_not_have_is_told_by_its_name_and_in_the_engines_words() {
    if !can_measure() {
        return;
    }
    let (said, told) =
        misled("no/such:1", "echo Unable to find image >&2; echo pull access denied >&2; exit 125", "");
    let why = "get the image: no/such:1: docker: exit status: 125: Unable to find image pull access denied";
    assert!(said.stderr.contains(why), "{}", said.stderr);
    assert!(
        said.stderr.contains("hint: docker pull no/such:1") && said.stderr.contains("BENCH_ROOTFS"),
        "{}",
        said.stderr
    );
    assert!(told.contains("--network none -- no/such:1 /bin/true\n"), "{told}");
    assert_removed(&told);
}

#[test]
fn an_image_of_another_digest_is_refused_before_it_is_exported() {
    if !can_measure() {
        return;
    }
    let (said, told) = misled("busybox@sha256:8f3b2e1d", "echo 0c", "exit 1");
    let why = format!(
        "identify the image: busybox@sha256:8f3b2e1d: it is another one: docker has busybox@{DIGEST}"
    );
    assert!(said.stderr.contains(&why), "{}", said.stderr);
    assert!(!told.contains("export"), "{told}");
    assert_removed(&told);
}

#[test]
fn an_export_that_is_cut_off_or_fails_is_refused() {
    if !can_measure() {
        return;
    }
    let image = format!("busybox@{DIGEST}");
    for (export, why) in [
        // Within a file, and between two.
        ("tar -C / -cf - etc/passwd | head -c 700", "export the image: "),
        ("tar -C / -b 1 -cf - etc/hostname | head -c 1024", "docker: the archive is cut off"),
        ("true", "docker: the archive is cut off"),
        ("tar -C / -cf - etc/passwd; echo broken >&2; exit 7", "docker: exit status: 7: broken"),
        ("echo this is no archive; exit 0", "export the image: "),
    ] {
        let (said, told) = misled(&image, "echo 0c", export);
        assert!(said.stderr.contains(why) && said.stderr.contains(&image), "{export}: {}", said.stderr);
        assert_removed(&told);
    }
}

/// Measures an image of this engine's with this PATH; what results.json says of the image.
fn measured(engine: &TestEngine, path: &str, name: &str) -> Value {
    let mut bench = Bench::new();
    bench.environment.use_engine(engine.address());
    let before = bench.left();
    let said = bench.run(WORDS, &[("PATH", path), ("BENCH_IMAGE", name)]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stdout.starts_with("| Metric | gVisor | runc | overhead |\n"), "{}", said.stdout);
    assert_eq!(bench.left(), before);
    assert_eq!(engine.client(&["ps", "--all", "--quiet"]), "", "no container is left");
    let results = bench.results();
    let image = results["facts"]["image"].clone();
    let methodology = fs::read_to_string(bench.folder("results").join("methodology.txt")).expect("written");
    for (line, fact) in [("image", "name"), ("image id", "id"), ("image engine", "engine")] {
        let line = format!("\n{line}: {}\n", image[fact].as_str().expect("a fact"));
        assert!(methodology.contains(&line), "{line:?} is not in:\n{methodology}");
    }
    let from = results["facts"]["rootfs"].as_str().expect("told");
    assert!(from.starts_with(&format!("the image {name} (")) && from.contains("sha256:"), "{from}");
    image
}

/// An image whose program has two names, and which has a volume.
fn import(engine: &TestEngine, name: &str) -> Option<()> {
    engine.import_busybox(name, &["VOLUME /data"], |root| {
        fs::hard_link(root.join("bin/busybox"), root.join("bin/second")).expect("linked");
    })
}

#[test]
fn the_image_of_a_docker_engine_is_measured_and_named_and_no_container_is_left() {
    if !can_measure() {
        return;
    }
    let Some(engine) = TestEngine::docker() else { return };
    let Some(()) = import(&engine, "bench-box") else { return };
    let image = measured(&engine, SYSTEM_PATH, "bench-box");
    let id = engine.client(&["image", "inspect", "--format", "{{.Id}}", "bench-box"]);
    assert_eq!((&image["name"], &image["id"]), (&"bench-box".into(), &id.into()));
    assert_eq!(image["digest"], Value::Null, "it never was in a registry");
    assert!(image["engine"].as_str().is_some_and(|engine| engine.starts_with("docker ")), "{image}");
    assert_eq!(engine.client(&["volume", "ls", "--quiet"]), "", "no volume is left");
}

#[test]
fn a_killed_runs_container_is_removed_by_the_next_and_nobody_elses() {
    if !can_measure() {
        return;
    }
    let Some(engine) = TestEngine::docker() else { return };
    let Some(()) = import(&engine, "bench-box") else { return };
    let mut bench = Bench::new();
    bench.environment.use_engine(engine.address());
    let own = engine.client(&[
        "create",
        "--network",
        "none",
        "--name",
        "agentkernel-bench-4194305-1",
        "bench-box",
        "sh",
    ]);
    let docker = tool_or_skip("docker").expect("it is there");
    let script = format!("case $1 in export) kill -9 $PPID;; *) exec {} \"$@\";; esac", docker.display());
    let path = fake(&bench, "docker", &script);
    let killed = bench.run(WORDS, &[("PATH", &path), ("BENCH_IMAGE", "bench-box")]);
    assert_eq!(killed.code, None, "{}", killed.stderr);
    let all = || engine.client(&["ps", "--all", "--quiet", "--no-trunc"]);
    assert_eq!(all().lines().count(), 2);
    let said = bench.run(WORDS, &[("BENCH_IMAGE", "bench-box")]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert_eq!(all(), own, "it has no label of ours");
}

#[test]
fn the_image_of_podman_is_measured_where_there_is_no_docker() {
    if !can_measure() {
        return;
    }
    let Some(engine) = TestEngine::podman() else { return };
    let Some(()) = import(&engine, "bench-box") else { return };
    let Some(podman) = tool_or_skip("podman") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    symlink(podman, folder.path().join("podman")).expect("linked");
    let path = folder.path().display().to_string();
    let image = measured(&engine, &path, "bench-box");
    assert!(image["engine"].as_str().is_some_and(|engine| engine.starts_with("podman ")), "{image}");
    assert!(image["id"].as_str().is_some_and(|id| id.len() == "sha256:".len() + 64), "{image}");
    // It tells a digest even of what was imported.
    let digest = image["digest"].as_str().expect("a digest");
    assert_eq!(measured(&engine, &path, digest)["digest"], digest);
}

#[test]
fn a_root_folder_that_is_named_is_measured() {
    if !can_measure() {
        return;
    }
    let bench = Bench::new();
    let before = bench.left();
    let root = bench.folder("root");
    fs::create_dir(root.join("bin")).expect("made");
    fs::copy(tool_or_skip("busybox").expect("it is there"), root.join("bin/busybox")).expect("copied");
    fs::hard_link(root.join("bin/busybox"), root.join("bin/sh")).expect("linked");
    symlink("/bin/busybox", root.join("bin/ls")).expect("linked");
    let run = |more: &[&str]| {
        let said = bench.run(&[WORDS, more].concat(), &[("BENCH_ROOTFS", &root.display().to_string())]);
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        bench.results()["facts"].clone()
    };
    let facts = run(&["--keep"]);
    let from = format!("a copy of {}", root.canonicalize().expect("there").display());
    assert_eq!((&facts["rootfs"], &facts["image"]), (&from.into(), &Value::Null));
    let staged = fs::read_dir(bench.folder("staged")).expect("read").flatten().next().expect("kept").path();
    let number = |path: &Path| fs::metadata(path).expect("copied").ino();
    let bin = staged.join("warm/rootfs/bin");
    assert_eq!(number(&bin.join("busybox")), number(&bin.join("sh")));
    assert_eq!(run(&[])["rootfs_sha256"], facts["rootfs_sha256"]);
    assert_eq!(bench.left(), before);
}
