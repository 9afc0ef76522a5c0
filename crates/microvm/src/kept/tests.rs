use super::*;
use crate::plan::firecracker::STATE;

fn fit(version: &str, processor: &str, words: &str) -> Fit {
    let [version, processor, words] = [version, processor, words].map(str::to_owned);
    Fit { program: "/usr/bin/vmm".into(), version, processor, words }
}

#[test]
fn a_snapshot_of_another_vmm_or_processor_or_machine_is_refused_with_the_reason() {
    let here = fit("7.2", "Nehalem", "-m 512M");
    assert_eq!(here.why_not(&here), None);
    let why = |kept: &Fit| here.why_not(kept).expect("refused");
    assert!(
        why(&fit("8.0", "Nehalem", "-m 512M")).contains("8.0 has written it, and here is /usr/bin/vmm 7.2")
    );
    assert!(why(&fit("7.2", "Skylake", "-m 512M")).contains("another processor"));
    assert!(why(&fit("7.2", "Nehalem", "-m 256M")).contains("other words"));
}

/// A store with one snapshot, as a VMM would have written it.
async fn with_one(home: &Path, name: &SnapshotName) -> KeptStore {
    let store = KeptStore::below(home, VmmKind::Qemu);
    let root = home.join("disk.ext4");
    fs::write(&root, "a disk").expect("written");
    let new = store.store.begin(&Key::named(name)).expect("begun").expect("free");
    fs::write(new.file(STATE), "a memory").expect("written");
    let of = Kept { fit: fit("7.2", "Nehalem", ""), root, base: None };
    store.keep(new, name, "mine", of).await.expect("kept");
    store
}

#[tokio::test]
async fn what_is_kept_is_found_listed_and_removed_with_all_that_is_its() {
    let home = tempfile::tempdir().expect("temp dir");
    let name: SnapshotName = "one".parse().expect("a name");
    let store = with_one(home.path(), &name).await;
    fs::remove_file(home.path().join("disk.ext4")).expect("the images of others may go");
    let found = store.find(&name).expect("found");
    assert_eq!(found.files.len(), 1);
    assert_eq!(fs::read(&found.files[0]).expect("read"), b"a memory");
    assert_eq!(fs::read(&found.root).expect("read"), b"a disk");
    found.check(&name, &fit("7.2", "Nehalem", "")).expect("it fits");
    let listed = store.list().expect("listed");
    assert_eq!((listed.len(), listed[0].about.as_str(), &listed[0].name), (1, "mine", &name));
    assert_eq!(store.check_free(&name).expect_err("taken").kind, ErrorKind::NameTaken);
    store.remove(&name).expect("removed");
    assert_eq!(store.remove(&name).expect_err("gone").kind, ErrorKind::NoSuchSnapshot);
    assert_eq!(store.find(&name).map(drop).expect_err("gone").kind, ErrorKind::NoSuchSnapshot);
    let left: Vec<_> = fs::read_dir(home.path().join("kept")).expect("read").flatten().collect();
    assert!(left.iter().all(|entry| entry.file_name() == "new"), "{left:?}");
}

#[tokio::test]
async fn a_snapshot_that_was_tampered_with_is_refused_and_stays() {
    let home = tempfile::tempdir().expect("temp dir");
    let name: SnapshotName = "one".parse().expect("a name");
    let store = with_one(home.path(), &name).await;
    let memory = store.find(&name).expect("found").files.remove(0);
    fs::remove_file(&memory).and_then(|()| fs::write(&memory, "another")).expect("tampered with");
    let error = store.find(&name).map(drop).expect_err("refused");
    assert!(error.why.contains("not what was written"), "{error}");
    assert_eq!(error.hint.as_deref(), Some("agentkernel snapshot rm one"));
    assert_eq!(store.list().expect("listed").len(), 1);
}

#[tokio::test]
async fn a_name_is_one_machines_and_another_vmm_does_not_know_it() {
    let home = tempfile::tempdir().expect("temp dir");
    let name: SnapshotName = "one".parse().expect("a name");
    let (store, other) =
        (with_one(home.path(), &name).await, KeptStore::below(home.path(), VmmKind::Firecracker));
    assert_eq!(other.check_free(&name).expect_err("taken").kind, ErrorKind::NameTaken);
    assert_eq!(other.list().expect("listed").len(), 0);
    assert_eq!(other.find(&name).map(drop).expect_err("not its own").kind, ErrorKind::NoSuchSnapshot);
    assert_eq!(other.remove(&name).expect_err("not its own").kind, ErrorKind::NoSuchSnapshot);
    // Nor one of which nobody knows any more whose it is.
    fs::write(store.store.file(&Key::named(&name), ABOUT), "?").expect("tampered with");
    assert_eq!((store.list().expect("listed").len(), other.list().expect("listed").len()), (1, 0));
    store.remove(&name).expect("removed");
}

#[tokio::test]
async fn what_was_touched_since_is_laid_over_the_memory_that_a_machine_continues_from() {
    let home = tempfile::tempdir().expect("temp dir");
    let name: SnapshotName = "one".parse().expect("a name");
    let store = KeptStore::below(home.path(), VmmKind::Firecracker);
    let (root, base) = (home.path().join("disk.ext4"), home.path().join("base"));
    fs::write(&root, "a disk").expect("written");
    fs::write(&base, [[b'a'; 4096], [b'b'; 4096]].concat()).expect("written");
    let new = store.store.begin(&Key::named(&name)).expect("begun").expect("free");
    fs::write(new.file(STATE), "a state").expect("written");
    let touched = File::create(new.file(MEMORY)).expect("made");
    touched.set_len(8192).expect("long");
    std::os::unix::fs::FileExt::write_all_at(&touched, &[b'x'; 4096], 4096).expect("written");
    let base = Some(Arc::new(File::open(base).expect("open")));
    store.keep(new, &name, "mine", Kept { fit: fit("1.13", "Zen", ""), root, base }).await.expect("kept");
    let files = store.find(&name).expect("found").files;
    assert_eq!(fs::read(&files[1]).expect("read"), [[b'a'; 4096], [b'x'; 4096]].concat());
}
