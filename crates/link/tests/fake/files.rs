//! File operations: what the worker is asked, and what its answers mean.

use agentkernel_core::{ErrorKind, FileKind, Files};
use agentkernel_protocol::{
    Exited, FileError, FileInfo, FileRequest, Signal, Status, Task, ToGuest, ToHost, Usage, encode_record,
};
use bytes::Bytes;

use crate::fake_guest::{FakeGuest, soon, stdout};

async fn hear_request(guest: &mut FakeGuest) -> (u32, FileRequest) {
    let (channel, start) = guest.begin().await;
    match start.task {
        Task::File(request) => (channel, request),
        other => panic!("expected a file request, heard {other:?}"),
    }
}

async fn fail(guest: &mut FakeGuest, channel: u32, message: &str) {
    let failure = FileError { errno: 2, message: message.into() };
    guest.say(channel, ToHost::Stderr(encode_record(&failure).into())).await;
    guest.say_exited(channel, 1).await;
}

fn wire_info(name: &str) -> FileInfo {
    FileInfo {
        name: name.into(),
        kind: agentkernel_protocol::FileKind::Symlink,
        size: 3,
        mode: 0o777,
        uid: 1,
        gid: 2,
        modified_ns: -5,
        target: Some(b"/t".to_vec()),
    }
}

#[tokio::test]
async fn a_file_is_read_in_chunks_to_its_end() {
    let (mut guest, link) = FakeGuest::connected().await;
    let files = link.files();
    let (source, channel) = joined!(files.read(b"/a", 5, Some(9)), async {
        let (channel, request) = hear_request(&mut guest).await;
        assert_eq!(request, FileRequest::Read { path: b"/a".to_vec(), offset: 5, length: Some(9) });
        guest.say(channel, stdout(20_000)).await;
        channel
    });
    let mut source = source.expect("readable");
    assert_eq!(source.next().await.expect("a chunk").map(|bytes| bytes.len()), Some(20_000));
    guest.say(channel, stdout(5)).await;
    guest.say_exited(channel, 0).await;
    assert_eq!(source.next().await.expect("a chunk").map(|bytes| bytes.len()), Some(5));
    assert_eq!(source.next().await, Ok(None));
    assert_eq!(source.next().await, Ok(None));
}

#[tokio::test]
async fn a_file_that_is_not_there_is_an_error_before_the_first_chunk() {
    let (mut guest, link) = FakeGuest::connected().await;
    let files = link.files();
    let (source, ()) = joined!(files.read(b"/nosuch", 0, None), async {
        let (channel, _) = hear_request(&mut guest).await;
        fail(&mut guest, channel, "open: /nosuch: No such file or directory").await;
    });
    let error = source.map(|_| ()).expect_err("not there");
    assert_eq!(error.kind, ErrorKind::File);
    assert_eq!(error.to_string(), "read the file: /nosuch: No such file or directory");
}

#[tokio::test]
async fn a_worker_that_dies_is_no_end_of_file() {
    let (mut guest, link) = FakeGuest::connected().await;
    let files = link.files();
    let (source, ()) = joined!(files.read(b"/a", 0, None), async {
        let (channel, _) = hear_request(&mut guest).await;
        guest.say(channel, stdout(5)).await;
        let last = Exited { status: Status::Signal(9), timed_out: false, usage: Usage::default() };
        guest.say(channel, ToHost::Exited(last)).await;
    });
    let mut source = source.expect("readable");
    assert!(source.next().await.is_ok());
    let error = source.next().await.expect_err("cut short");
    assert_eq!(error.to_string(), "read the file: /a: its worker ended with signal 9");
}

#[tokio::test]
async fn a_written_file_is_finished_by_the_end_of_stdin() {
    let (mut guest, link) = FakeGuest::connected().await;
    let files = link.files();
    let (sink, channel) = joined!(files.write(b"/a", 0o640), async {
        let (channel, request) = hear_request(&mut guest).await;
        assert_eq!(request, FileRequest::Write { path: b"/a".to_vec(), mode: 0o640 });
        channel
    });
    let mut sink = sink.expect("writable");
    sink.write(Bytes::from_static(b"content")).await.expect("sent");
    assert_eq!(guest.hear().await, (channel, ToGuest::Stdin(Bytes::from_static(b"content"))));
    let (finished, ()) = joined!(sink.finish(), async {
        assert_eq!(guest.hear().await, (channel, ToGuest::StdinEnd));
        guest.say_exited(channel, 0).await;
    });
    finished.expect("written");
    guest.hear_nothing().await;
}

#[tokio::test]
async fn a_file_that_cannot_be_written_fails_before_all_of_it_was_sent() {
    let (mut guest, link) = FakeGuest::connected().await;
    let files = link.files();
    let (sink, channel) = joined!(files.write(b"/a", 0o640), async { hear_request(&mut guest).await.0 });
    let mut sink = sink.expect("begun");
    fail(&mut guest, channel, "create: /a: Read-only file system").await;
    let mut error = None;
    for _ in 0..100 {
        error = error.or(soon(sink.write(Bytes::from_static(&[0; 4096]))).await.err());
        tokio::task::yield_now().await;
    }
    let error = error.expect("told");
    assert_eq!(error.to_string(), "write the file: /a: Read-only file system");
}

#[tokio::test]
async fn a_sink_that_is_not_finished_makes_the_worker_give_up() {
    let (mut guest, link) = FakeGuest::connected().await;
    let files = link.files();
    let (sink, channel) = joined!(files.tar_in(b"/d"), async { hear_request(&mut guest).await.0 });
    drop(sink.expect("begun"));
    let gives_up = ToGuest::Signal(Signal { number: 15, group: false });
    assert_eq!(guest.hear().await, (channel, gives_up), "and no end of stdin, which would finish it");
}

#[tokio::test]
async fn facts_of_files_arrive_as_they_are() {
    let (mut guest, link) = FakeGuest::connected().await;
    let files = link.files();
    let (infos, ()) = joined!(files.list(b"/d"), async {
        let (channel, _) = hear_request(&mut guest).await;
        let records = [encode_record(&wire_info("a")), encode_record(&wire_info("b"))].concat();
        // In pieces that cut the records.
        for piece in records.chunks(7) {
            guest.say(channel, ToHost::Stdout(Bytes::copy_from_slice(piece))).await;
        }
        guest.say_exited(channel, 0).await;
    });
    let infos = infos.expect("listed");
    assert_eq!(infos.iter().map(|info| info.name.as_slice()).collect::<Vec<_>>(), [b"a", b"b"]);
    let info = &infos[0];
    assert_eq!((info.kind, info.size, info.mode), (FileKind::Symlink, 3, 0o777));
    assert_eq!((info.uid, info.gid, info.modified_ns), (1, 2, -5));
    assert_eq!(info.target.as_deref(), Some(&b"/t"[..]));
}

#[tokio::test]
async fn an_unintelligible_answer_is_an_error_and_not_a_guess() {
    for records in [vec![1, 0], [encode_record(&wire_info("a")), encode_record(&wire_info("b"))].concat()] {
        let (mut guest, link) = FakeGuest::connected().await;
        let files = link.files();
        let (info, ()) = joined!(files.stat(b"/a", true), async {
            let (channel, _) = hear_request(&mut guest).await;
            guest.say(channel, ToHost::Stdout(records.into())).await;
            guest.say_exited(channel, 0).await;
        });
        assert!(info.expect_err("unintelligible").why.contains("unintelligible"));
    }
}
