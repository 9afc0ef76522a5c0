use super::*;

fn key(number: u8) -> Key {
    Key::of([&[number][..], b"x"])
}

const FILES: &[&str] = &["state", "memory"];

fn make(store: &SnapshotStore, key: &Key, content: &[u8]) {
    let new = store.begin(key).expect("begun").expect("alone");
    for name in FILES {
        fs::write(new.file(name), content).expect("written");
    }
    new.keep(FILES).expect("kept");
}

/// The second file of one.
fn found(store: &SnapshotStore, key: &Key) -> io::Result<Option<PathBuf>> {
    Ok(store.find(key, FILES)?.map(|mut files| files.remove(1)))
}

#[test]
fn it_is_found_when_it_is_whole_and_a_broken_attempt_leaves_the_old_one() {
    let home = tempfile::tempdir().expect("a folder");
    let store = SnapshotStore::below(home.path());
    assert_eq!(found(&store, &key(1)).expect("looked"), None);
    let new = store.begin(&key(1)).expect("begun").expect("alone");
    assert!(store.begin(&key(1)).expect("begun").is_none(), "somebody else is at it");
    fs::write(new.file("state"), "half").expect("written");
    drop(new);
    assert_eq!(found(&store, &key(1)).expect("looked"), None);
    make(&store, &key(1), b"whole");
    let file = found(&store, &key(1)).expect("looked").expect("found");
    drop(store.begin(&key(1)).expect("begun").expect("alone"));
    assert_eq!(fs::read(&file).expect("read"), b"whole");
    assert_eq!(found(&store, &key(2)).expect("looked"), None, "another is another");
    assert_eq!(fs::read_dir(home.path().join("snapshots/new")).expect("listed").count(), 0);
}

#[test]
fn one_that_was_changed_or_cut_off_is_removed_and_told() {
    let home = tempfile::tempdir().expect("a folder");
    let store = SnapshotStore::below(home.path());
    for change in [&b"wHole"[..], b"who", b""] {
        make(&store, &key(1), b"whole");
        let file = found(&store, &key(1)).expect("looked").expect("found");
        fs::write(&file, change).expect("written");
        let why = found(&store, &key(1)).expect_err("noticed").to_string();
        assert!(why.contains("not what was written"), "{why}");
        assert!(!file.exists() && found(&store, &key(1)).expect("looked").is_none());
    }
    make(&store, &key(1), b"whole");
    fs::remove_file(store.file(&key(1), "memory")).expect("removed");
    assert!(found(&store, &key(1)).is_err() && found(&store, &key(1)).expect("looked").is_none());
    make(&store, &key(1), b"whole");
    fs::write(store.about(&key(1)), "{").expect("written");
    assert!(found(&store, &key(1)).is_err());
}

#[test]
fn one_whose_description_alone_has_changed_is_read_again_and_stays() {
    let home = tempfile::tempdir().expect("a folder");
    let store = SnapshotStore::below(home.path());
    make(&store, &key(1), b"whole");
    let file = store.file(&key(1), "memory");
    let before = fs::read(store.about(&key(1))).expect("read");
    fs::rename(&file, file.with_extension("aside")).expect("renamed");
    fs::copy(file.with_extension("aside"), &file).expect("copied");
    assert_eq!(found(&store, &key(1)).expect("looked"), Some(file));
    assert_ne!(fs::read(store.about(&key(1))).expect("read"), before);
}

#[test]
fn the_oldest_are_forgotten() {
    let home = tempfile::tempdir().expect("a folder");
    let store = SnapshotStore::below(home.path());
    for number in 0..10 {
        make(&store, &key(number), &[number]);
        assert!(found(&store, &key(0)).expect("looked").is_some(), "the first one is used all the time");
    }
    let found: Vec<bool> =
        (0..10).map(|number| found(&store, &key(number)).expect("looked").is_some()).collect();
    assert_eq!(found.iter().filter(|found| **found).count(), SNAPSHOTS_MAX, "{found:?}");
    assert!(found[0] && !found[1] && !found[2], "{found:?}");
}

#[test]
fn parts_do_not_run_into_each_other() {
    assert_ne!(Key::of([&b"ab"[..], b"c"]), Key::of([&b"a"[..], b"bc"]));
}
