//! Commands that outlive their host, for real: what a second host gets back.

use std::fs::write;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command as Program, Stdio};
use std::time::{Duration, Instant};

use agentkernel_core::{
    Command, ErrorKind, ExitStatus, Files, OutputStream, ProcessEvent, Stdin, TerminalSize,
};
use agentkernel_link::{GUEST_BUILD, HelloOptions, Token, connect};
use agentkernel_protocol::ToHost;
use bytes::Bytes;
use tempfile::TempDir;

use crate::door::{Host, House, registered};
use crate::real_guest::{Output, RealGuest, finish, hello, shell, shell_with_stdin};

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

/// A command that does nothing before this file exists.
fn after(signal: &Path, script: &str) -> Command {
    shell(&format!("until [ -e {} ]; do sleep 0.01; done; {script}", signal.display()))
}

/// Takes the rest of what the command with this PID says.
fn finished(host: &mut Host, pid: u32) -> Output {
    let command = host.commands.iter_mut().find(|command| command.pid() == pid).expect("told of");
    host.runtime.block_on(finish(&mut **command))
}

fn noise(len: u32) -> Vec<u8> {
    (0..len).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[test]
fn what_ended_meanwhile_and_what_runs_come_back_exactly() {
    let folder = TempDir::new().expect("a folder");
    let signal = folder.path().join("now");
    let (house, mut first) = House::with_host();
    let told = first.exec(&shell("exit 9"));
    assert_eq!(finished(&mut first, told).status, ExitStatus::Code(9));
    let code = first.exec(&after(&signal, "exit 7"));
    let killed = first.exec(&after(&signal, "echo last; kill -USR1 $$"));
    let mut limited = Command::new(["sleep", "1000"]);
    limited.timeout = Some(Duration::from_millis(500));
    let limited = first.exec(&limited);
    let runs = first.exec(&shell_with_stdin("read line; echo \"got $line\"; exit 4"));
    let mut terminal = shell_with_stdin("read line; stty size; exit 5");
    terminal.terminal = Some(TerminalSize { rows: 24, cols: 80 });
    let terminal = first.exec(&terminal);
    first.killed();
    write(&signal, b"").expect("a file");
    until("three have ended", || [code, killed, limited].into_iter().all(is_gone));

    let mut second = house.host();
    let pids: Vec<_> = second.commands.iter().map(|command| command.pid()).collect();
    assert_eq!(pids, [told, code, killed, limited, runs, terminal]);
    assert!(second.commands.iter().all(|command| command.lost_bytes() == 0));
    for (pid, status) in [
        (told, ExitStatus::Code(9)),
        (code, ExitStatus::Code(7)),
        (killed, ExitStatus::Signal(10)),
        (limited, ExitStatus::Signal(9)),
    ] {
        let output = finished(&mut second, pid);
        let expected: &[u8] = if pid == killed { b"last\n" } else { b"" };
        assert_eq!((output.status, output.stdout.as_slice()), (status, expected), "{pid}");
    }
    for (index, text) in [(4, &b"hello\n"[..]), (5, b"\n")] {
        let control = second.commands[index].control();
        second.runtime.block_on(async {
            control.resize(TerminalSize { rows: 50, cols: 132 }).await.expect("sent");
            control.write_stdin(Bytes::copy_from_slice(text)).await.expect("written");
        });
    }
    let output = finished(&mut second, runs);
    assert_eq!((output.status, output.stdout.as_slice()), (ExitStatus::Code(4), &b"got hello\n"[..]));
    let output = finished(&mut second, terminal);
    assert_eq!(output.status, ExitStatus::Code(5));
    assert!(output.stdout.ends_with(b"50 132\r\n"), "{:?}", String::from_utf8_lossy(&output.stdout));
    let fresh = second.exec(&shell("echo fine"));
    assert_eq!(finished(&mut second, fresh).stdout, b"fine\n");
}

#[test]
fn output_goes_on_after_a_gap_and_stdin_within_its_window() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("noise");
    let bytes = noise(5_000_000);
    write(&path, &bytes).expect("a file");
    let (house, mut first) = House::with_host();
    let reads = first.exec(&Command::new(["cat", path.to_str().expect("text")]));
    let signal = folder.path().join("now");
    let copies = first.exec(&Command { stdin: Stdin::Pipe, ..after(&signal, "cat") });
    let control = first.commands[1].control();
    first.runtime.block_on(control.write_stdin(Bytes::copy_from_slice(&bytes[..700_000]))).expect("written");
    first.runtime.block_on(first.link.ping()).expect("all of it has arrived");
    let mut taken = 0;
    while taken < 1_200_000 {
        let event = first.runtime.block_on(first.commands[0].next()).expect("an event");
        let ProcessEvent::Output(OutputStream::Stdout, chunk) = event else { panic!("output") };
        assert!(chunk == bytes[taken..taken + chunk.len()]);
        taken += chunk.len();
    }
    first.killed();

    let mut second = house.host();
    assert_eq!(second.commands.iter().map(|command| command.pid()).collect::<Vec<_>>(), [reads, copies]);
    write(&signal, b"").expect("a file");
    let lost = usize::try_from(second.commands[0].lost_bytes()).expect("a window");
    assert_eq!(second.commands[1].lost_bytes(), 0, "it has said nothing yet");
    let output = finished(&mut second, reads);
    let begin = bytes.len() - output.stdout.len();
    assert!(output.stdout == bytes[begin..], "what comes is whole to the end");
    assert!((taken..=taken + lost).contains(&begin), "{taken} taken, {lost} lost, goes on at {begin}");
    assert_eq!(output.status, ExitStatus::Code(0));

    let control = second.commands[1].control();
    let rest = Bytes::copy_from_slice(&bytes[700_000..]);
    let both = async {
        let writing = async {
            control.write_stdin(rest).await.expect("written");
            control.close_stdin().await.expect("closed");
        };
        tokio::join!(writing, finish(&mut *second.commands[1])).1
    };
    let output = second.runtime.block_on(both);
    assert!(output.stdout == bytes, "{} bytes came back", output.stdout.len());
}

#[test]
fn whoever_knows_no_token_gets_nothing_and_who_does_gets_all() {
    let (house, mut first) = House::with_host();
    let pid = first.exec(&Command::new(["sleep", "1000"]));
    let stranger = house.host_that_says(HelloOptions { token: Token([8; 32]), ..hello() });
    let error = stranger.map(|_| ()).expect_err("refused");
    assert_eq!(error.kind, ErrorKind::Boot);
    assert_eq!(error.why, "the guest agent says: the token is not this sandbox's");
    first.runtime.block_on(first.link.ping()).expect("the host is still the host");
    let mut second = house.host();
    assert_eq!(second.commands[0].pid(), pid);
    let closed = first.runtime.block_on(first.link.closed());
    assert_eq!(closed.why, "the guest agent closed its stream");
    second.commands.clear();
    second.runtime.block_on(second.link.ping()).expect("said before");
    until("dropping the command killed it", || is_gone(pid));
}

#[test]
fn a_host_of_another_build_gets_in_by_the_door_and_only_there() {
    let (house, mut first) = House::with_host();
    let pid = first.exec(&Command::new(["sleep", "1000"]));
    first.killed();
    let Ok(ToHost::Ready(ready)) = house.answer_to("after the upgrade") else { panic!("let in") };
    assert_eq!((ready.build.as_str(), ready.survivors[0].pid), (GUEST_BUILD, pid));
    let (_fresh, stream) = House::new();
    let Ok(ToHost::Fault(why)) = crate::door::answer(stream, "after the upgrade") else { panic!("refused") };
    assert!(why.contains("the host expects guest build \"after the upgrade\""), "{why}");
}

#[test]
fn a_file_is_whole_or_as_it_was() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("file");
    write(&path, b"old").expect("a file");
    let (house, first) = House::with_host();
    let name = path.as_os_str().as_encoded_bytes();
    let sink = first.runtime.block_on(async {
        let mut sink = first.link.files().write(name, 0o600).await.expect("begun");
        sink.write(Bytes::from(vec![b'n'; 500_000])).await.expect("sent");
        first.link.ping().await.expect("all of it has arrived");
        sink
    });
    first.killed();
    let second = house.host();
    assert!(second.commands.is_empty(), "a worker is no command");
    assert_eq!(std::fs::read(&path).expect("the file"), b"old");
    drop(sink);
    second.runtime.block_on(async {
        let mut sink = second.link.files().write(name, 0o600).await.expect("begun");
        sink.write(Bytes::from_static(b"new")).await.expect("sent");
        sink.finish().await.expect("written");
    });
    assert_eq!(std::fs::read(&path).expect("the file"), b"new");
}

/// A host program that is another process: this test's own program, which plays it when it is told to.
struct OtherProgram {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl OtherProgram {
    #[expect(clippy::disallowed_methods, reason = "the host has to be a program that can be killed")]
    fn start(stream: StdUnixStream) -> Self {
        let mut program = Program::new(std::env::current_exe().expect("this program"));
        program.args(["--exact", "adoption::the_host_that_is_killed", "--ignored", "--nocapture"]);
        program.stdin(OwnedFd::from(stream)).stdout(Stdio::piped());
        let mut child = program.spawn().expect("it starts");
        let said = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, said }
    }

    /// The number that it says by this name.
    fn says(&mut self, name: &str) -> u32 {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.said.read_line(&mut line).expect("text") > 0, "it has ended before it said {name}");
            // The harness begins the line with words of its own.
            if let Some((_, number)) = line.trim_end().rsplit_once(&format!("{name} ")) {
                return number.parse().expect("a number");
            }
        }
    }
}

impl Drop for OtherProgram {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test]
#[ignore = "is played by another test's child: it waits to be killed"]
async fn the_host_that_is_killed() {
    let stream = StdUnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().expect("a copy"));
    if stream.peer_addr().is_err() {
        return; // nobody has given us a guest
    }
    let (link, _) = connect(registered(stream), hello()).await.expect("greeted");
    let defaults = RealGuest::defaults();
    let waits = link.exec(&shell_with_stdin("read code; exit $code"), &defaults).await.expect("started");
    let mut talks = link.exec(&shell("seq 1 1000000; exit 3"), &defaults).await.expect("started");
    say("waits", waits.pid());
    say("talks", talks.pid());
    let mut taken = 0;
    while taken < 800_000 {
        if let Ok(ProcessEvent::Output(_, bytes)) = talks.next().await {
            taken += bytes.len();
        }
    }
    say("taken", u32::try_from(taken).expect("a small number"));
    std::future::pending::<()>().await;
}

fn say(name: &str, number: u32) {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{name} {number}").and_then(|()| output.flush()).expect("heard");
}

#[test]
fn after_kill_9_of_the_host_program_its_commands_end_exactly() {
    let (house, stream) = House::new();
    let mut program = OtherProgram::start(stream);
    let (waits, talks) = (program.says("waits"), program.says("talks"));
    let taken = program.says("taken") as usize;
    program.child.kill().expect("killed");
    program.child.wait().expect("waited for");

    let mut host = house.host();
    assert_eq!(host.commands.iter().map(|command| command.pid()).collect::<Vec<_>>(), [waits, talks]);
    let lost = usize::try_from(host.commands[1].lost_bytes()).expect("a window");
    let output = finished(&mut host, talks);
    let all: String = (1..=1_000_000).map(|number| format!("{number}\n")).collect();
    let begin = all.len() - output.stdout.len();
    assert!(output.stdout == all.as_bytes()[begin..], "what comes is whole to the end");
    assert!((taken..=taken + lost).contains(&begin), "{taken} taken, {lost} lost, goes on at {begin}");
    assert_eq!(output.status, ExitStatus::Code(3));
    let control = host.commands[0].control();
    host.runtime.block_on(control.write_stdin(Bytes::from_static(b"42\n"))).expect("written");
    assert_eq!(finished(&mut host, waits).status, ExitStatus::Code(42));
}
