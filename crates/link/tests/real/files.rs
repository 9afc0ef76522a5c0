//! Files, for real.

use agentkernel_core::{ByteSource, ErrorKind, FileKind, Files};
use bytes::Bytes;

use crate::real_guest::RealGuest;

async fn read_all(mut source: Box<dyn ByteSource>) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(bytes) = source.next().await.expect("readable") {
        all.extend_from_slice(&bytes);
    }
    all
}

async fn write_all(guest: &RealGuest, name: &str, bytes: &[u8]) {
    let mut sink = guest.link.files().write(&guest.path(name), 0o640).await.expect("writable");
    sink.write(Bytes::copy_from_slice(bytes)).await.expect("written");
    sink.finish().await.expect("whole");
}

#[tokio::test]
async fn what_is_written_is_read_again() {
    let guest = RealGuest::start().await;
    let files = guest.link.files();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    write_all(&guest, "a", &bytes).await;
    assert!(read_all(files.read(&guest.path("a"), 0, None).await.expect("readable")).await == bytes);
    let part = read_all(files.read(&guest.path("a"), 1_000_000, Some(10)).await.expect("readable")).await;
    assert_eq!(part, bytes[1_000_000..1_000_010]);
    let info = files.stat(&guest.path("a"), true).await.expect("there");
    assert_eq!((info.kind, info.size, info.mode), (FileKind::File, 3_000_000, 0o640));
    write_all(&guest, "a", b"").await;
    assert_eq!(read_all(files.read(&guest.path("a"), 0, None).await.expect("readable")).await, b"");
}

#[tokio::test]
async fn folders_are_made_listed_renamed_and_removed() {
    let guest = RealGuest::start().await;
    let files = guest.link.files();
    files.make_dir(&guest.path("d/e"), 0o755, true).await.expect("made");
    write_all(&guest, "d/b", b"b").await;
    write_all(&guest, "d/a", b"a").await;
    files.rename(&guest.path("d/b"), &guest.path("d/c")).await.expect("renamed");
    let infos = files.list(&guest.path("d")).await.expect("listed");
    let names: Vec<_> = infos.iter().map(|info| (info.name.as_slice(), info.kind)).collect();
    assert_eq!(names, [(&b"a"[..], FileKind::File), (b"c", FileKind::File), (b"e", FileKind::Dir)]);
    let error = files.remove(&guest.path("d"), false).await.expect_err("not empty");
    assert_eq!((error.kind, error.why.as_str()), (ErrorKind::File, "Directory not empty"));
    files.remove(&guest.path("d"), true).await.expect("removed");
    assert!(files.stat(&guest.path("d"), true).await.is_err());
}

#[tokio::test]
async fn errors_name_the_path_and_the_reason_once() {
    let guest = RealGuest::start().await;
    let files = guest.link.files();
    let error = files.read(b"/no/such", 0, None).await.map(|_| ()).expect_err("not there");
    assert_eq!(error.to_string(), "read the file: /no/such: No such file or directory");
    let error = files.list(b"/etc/passwd").await.expect_err("no folder");
    assert_eq!(error.to_string(), "list the folder: /etc/passwd: Not a directory");
    let error = files.read(b"/dev/zero", 0, None).await.map(|_| ()).expect_err("endless");
    assert_eq!(error.kind, ErrorKind::File);
    let mut sink = files.write(b"/no/such", 0o600).await.expect("begun");
    let late = async {
        sink.write(Bytes::from_static(b"x")).await?;
        sink.finish().await
    };
    assert_eq!(
        late.await.expect_err("no folder").to_string(),
        "write the file: /no/such: No such file or directory"
    );
}

#[tokio::test]
async fn a_file_that_is_not_finished_stays_as_it_was() {
    let guest = RealGuest::start().await;
    let files = guest.link.files();
    write_all(&guest, "a", b"old").await;
    let mut sink = files.write(&guest.path("a"), 0o600).await.expect("writable");
    sink.write(Bytes::from_static(b"new")).await.expect("written");
    drop(sink);
    for _ in 0..20 {
        guest.link.ping().await.expect("answered");
    }
    assert_eq!(read_all(files.read(&guest.path("a"), 0, None).await.expect("readable")).await, b"old");
}

#[tokio::test]
async fn a_folder_goes_in_and_comes_out_as_tar() {
    let guest = RealGuest::start().await;
    let files = guest.link.files();
    let mut archive = tar::Builder::new(Vec::new());
    let content = vec![7; 200_000];
    for (name, bytes) in [("x/one", &content[..]), ("x/two", b"2")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, bytes).expect("appended");
    }
    let archive = archive.into_inner().expect("whole");
    let mut sink = files.tar_in(&guest.path("t")).await.expect("begun");
    sink.write(Bytes::from(archive)).await.expect("written");
    sink.finish().await.expect("unpacked");

    let packed = read_all(files.tar_out(&guest.path("t/x")).await.expect("packed")).await;
    let mut archive = tar::Archive::new(&packed[..]);
    let mut found: Vec<_> = archive
        .entries()
        .expect("an archive")
        .map(|entry| entry.expect("an entry"))
        .map(|entry| {
            (entry.path().expect("a path").components().as_path().display().to_string(), entry.size())
        })
        .collect();
    found.sort();
    assert_eq!(found, [("x".into(), 0), ("x/one".into(), 200_000), ("x/two".into(), 1)]);
}
