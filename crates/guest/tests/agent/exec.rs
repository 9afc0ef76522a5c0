//! Programs: their words, their environment, how they are found, how they end.

use std::fs::{create_dir, write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use agentkernel_protocol::{Exec, FileRequest, Refused, Stage, Start, Status, StdinMode, UserIds};
use rustix::io::Errno;
use rustix::process::{geteuid, getgid, getuid};
use tempfile::{TempDir, tempdir};

use crate::client::Guest;
use crate::files::{bytes, done};
use crate::request::{exec, program_of, shell, words};

fn refusal(stage: Stage, errno: Errno, subject: &str) -> Refused {
    Refused { stage, errno: errno.raw_os_error(), subject: subject.into() }
}

#[test]
fn every_word_arrives_byte_for_byte() {
    let odd: [&[u8]; 8] = [
        b"two words",
        b"line\nbreak",
        b"",
        b"\xff\xfe not text",
        b"$HOME `id` \"'\\",
        b"-n",
        b"*",
        b"\x01\x7f",
    ];
    let mut program = exec(&["/usr/bin/printf", "%s\\0"]);
    program.argv.extend(odd.iter().map(|word| word.to_vec()));
    let outcome = Guest::ready().run(program_of(program));
    let words: Vec<_> = outcome.stdout.split(|byte| *byte == 0).collect();
    assert_eq!(words[..odd.len()], odd);
}

#[test]
fn the_environment_is_what_was_given_and_nothing_else() {
    let mut guest = Guest::ready();
    let env = vec![
        (b"A".to_vec(), b"one = two\nthree".to_vec()),
        (b"EMPTY".to_vec(), Vec::new()),
        (b"BYTES".to_vec(), b"\xff\x01".to_vec()),
    ];
    let outcome = guest.run(program_of(Exec { env, ..exec(&["/usr/bin/env", "-0"]) }));
    assert_eq!(outcome.stdout, b"A=one = two\nthree\0EMPTY=\0BYTES=\xff\x01\0");
    let outcome = guest.run(program_of(Exec { env: Vec::new(), ..exec(&["env"]) }));
    assert_eq!(outcome.stdout, b"", "found without a PATH, and inherits nothing");
}

#[test]
fn words_that_cannot_be_passed_on_are_named() {
    let mut guest = Guest::ready();
    let mut nul = exec(&["echo", "fine"]);
    nul.argv.push(b"a\0b".to_vec());
    let expected = refusal(Stage::Prepare, Errno::INVAL, "argument 2 contains a NUL byte");
    assert_eq!(guest.refused(program_of(nul)), expected);
    let empty = Exec { argv: Vec::new(), ..exec(&[]) };
    assert_eq!(guest.refused(program_of(empty)), refusal(Stage::Lookup, Errno::INVAL, "empty argv"));
    for (name, value) in [("", "x"), ("A=B", "x"), ("A", "\0")] {
        let env = vec![(name.as_bytes().to_vec(), value.as_bytes().to_vec())];
        let refused = guest.refused(program_of(Exec { env, ..exec(&["/bin/true"]) }));
        assert_eq!((refused.stage, refused.errno), (Stage::Prepare, 22));
        assert!(refused.subject.starts_with("environment variable"), "{}", refused.subject);
    }
}

#[test]
fn the_working_directory_is_entered_or_named() {
    let mut guest = Guest::ready();
    let folder = tempdir().expect("a folder");
    let cwd = folder.path().as_os_str().as_bytes().to_vec();
    let outcome = guest.run(program_of(Exec { cwd, ..exec(&["pwd", "-P"]) }));
    let real = folder.path().canonicalize().expect("it exists");
    assert_eq!(outcome.text().trim_end(), real.to_str().expect("text"));
    for (cwd, errno) in [("/nowhere/at all", Errno::NOENT), ("/etc/passwd", Errno::NOTDIR)] {
        let program = Exec { cwd: cwd.into(), ..exec(&["pwd"]) };
        assert_eq!(guest.refused(program_of(program)), refusal(Stage::WorkingDirectory, errno, cwd));
    }
}

/// A folder with `run`, which is executable, `text`, which is not, `odd`, which is no program, and
/// `lost`, whose interpreter does not exist.
///
/// Written by the agent: what this process has open for writing, a fork of another test may keep so for
/// a moment, in which nobody can execute it.
fn programs(guest: &mut Guest) -> TempDir {
    let folder = tempdir().expect("a folder");
    let mut place = |name: &str, content: &str, mode| {
        let path = bytes(folder.path().join(name));
        done(guest, FileRequest::Write { path, mode }, content.as_bytes());
    };
    place("run", "#!/bin/sh\necho \"$0\"\n", 0o755);
    place("text", "#!/bin/sh\necho wrong\n", 0o644);
    place("odd", "neither ELF nor a script\n", 0o755);
    place("lost", "#!/no/such/interpreter\n", 0o755);
    create_dir(folder.path().join("empty")).expect("a folder");
    folder
}

fn with_path(argv: &[&str], path: &str, cwd: &Path) -> Start {
    let env = vec![(b"PATH".to_vec(), path.as_bytes().to_vec())];
    program_of(Exec { env, cwd: cwd.as_os_str().as_bytes().to_vec(), ..exec(argv) })
}

#[test]
fn programs_are_found_in_the_path_that_was_given() {
    let mut guest = Guest::ready();
    let folder = programs(&mut guest);
    let here = folder.path().to_str().expect("text");
    for (path, found) in [
        (format!("/nowhere:/etc/passwd:{here}/empty:{here}"), format!("{here}/run\n")),
        (String::new(), "./run\n".into()),
        ("empty:".into(), "./run\n".into()),
        ("empty/..".into(), "empty/../run\n".into()),
    ] {
        assert_eq!(guest.run(with_path(&["run"], &path, folder.path())).text(), found, "PATH={path}");
    }
    assert_eq!(guest.run(with_path(&["./run"], "/nowhere", folder.path())).text(), "./run\n");
}

#[test]
fn not_found_and_not_executable_are_told_apart() {
    let mut guest = Guest::ready();
    let folder = programs(&mut guest);
    let here = folder.path().to_str().expect("text");
    for (name, path, stage, errno) in [
        ("no such program", here, Stage::Lookup, Errno::NOENT),
        ("", here, Stage::Lookup, Errno::NOENT),
        ("lost", here, Stage::Lookup, Errno::NOENT),
        ("text", here, Stage::Lookup, Errno::ACCESS),
        ("empty", here, Stage::Lookup, Errno::ACCESS),
        ("./none", here, Stage::Exec, Errno::NOENT),
        ("./text", here, Stage::Exec, Errno::ACCESS),
        ("./odd", here, Stage::Exec, Errno::NOEXEC),
        ("./run/x", here, Stage::Exec, Errno::NOTDIR),
    ] {
        let refused = guest.refused(with_path(&[name], path, folder.path()));
        assert_eq!(refused, refusal(stage, errno, name));
    }
    let refused = guest.refused(with_path(&["odd"], here, folder.path()));
    assert_eq!(refused, refusal(Stage::Exec, Errno::NOEXEC, &format!("{here}/odd")));
    // One that cannot be executed does not hide one that can.
    write(folder.path().join("empty/run"), "").expect("a file");
    let outcome = guest.run(with_path(&["run"], &format!("{here}/empty:{here}"), folder.path()));
    assert_eq!(outcome.text(), format!("{here}/run\n"));
}

#[test]
fn too_long_a_list_of_words_is_refused_by_the_kernel() {
    let mut guest = Guest::ready();
    let long = "x".repeat(200 * 1024);
    let refused = guest.refused(words(&["/bin/echo", &long]));
    assert_eq!(refused, refusal(Stage::Exec, Errno::TOOBIG, "/bin/echo"));
    let refused = guest.refused(words(&[&long]));
    assert_eq!((refused.stage, refused.subject.len()), (Stage::Exec, 4096), "the subject fits a frame");
}

#[test]
fn every_exit_code_is_exact() {
    let mut guest = Guest::ready();
    for code in 0..=255 {
        let outcome = guest.run(words(&["/bin/sh", "-c", "exit $0", &code.to_string()]));
        assert_eq!(outcome.status(), Status::Code(code));
    }
}

#[test]
fn every_deadly_signal_is_exact() {
    let mut guest = Guest::ready();
    // Those that stop or do nothing are left out, as are two that the C library keeps for itself.
    let harmless = [17, 18, 19, 20, 21, 22, 23, 28, 32, 33];
    for number in (1..=64).filter(|number| !harmless.contains(number)) {
        let outcome = guest.run(words(&["/bin/sh", "-c", "ulimit -c 0; kill -$0 $$", &number.to_string()]));
        assert_eq!(outcome.status(), Status::Signal(number));
        let (channel, _) = guest.started(words(&["sleep", "1000"]));
        guest.signal(channel, number, false);
        assert_eq!(guest.exited(channel).status, Status::Signal(number));
    }
}

#[test]
fn a_program_starts_with_nothing_of_the_agents() {
    let mut guest = Guest::ready();
    let status = guest.run(words(&["cat", "/proc/self/status"])).text();
    let signals: Vec<_> = status.lines().filter(|line| line.starts_with("Sig")).collect();
    assert!(signals[1..].iter().all(|line| line.ends_with("\t0000000000000000")), "{signals:?}");
    let files = guest.run(words(&["ls", "/proc/self/fd"])).text();
    assert_eq!(files.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"], "3 is the folder itself");
    let outcome = guest.run(shell("ps -o pgid=,sid= -p $$ | tr -s ' ' | sed 's/^ //'"));
    assert_eq!(outcome.text(), format!("{0} {0}\n", outcome.pid), "a session and a group of its own");
    let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let expected = limits.current.map_or("unlimited".into(), |limit| limit.to_string());
    assert_eq!(guest.run(shell("ulimit -Sn")).text().trim_end(), expected);
}

#[test]
fn what_a_program_used_is_told() {
    let mut guest = Guest::ready();
    let script = "i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done";
    let usage = guest.run(shell(script)).exited.expect("it ended").usage;
    assert!(usage.user_us > 1_000, "{usage:?}");
    assert!(usage.max_rss_kib > 100, "{usage:?}");
    assert!(usage.wall_ns > 1_000 * usage.user_us / 2, "{usage:?}");
}

#[test]
fn a_program_runs_as_the_user_that_was_asked_for() {
    let mut guest = Guest::ready();
    let as_user = |uid, gid| {
        let identity = words(&["sh", "-c", "id -u; id -g; id -G"]);
        Start { user: Some(UserIds { uid, gid }), ..identity }
    };
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    let own = guest.run(as_user(uid, gid)).text();
    assert!(own.starts_with(&format!("{uid}\n{gid}\n")), "{own}");
    if geteuid().is_root() {
        assert_eq!(guest.run(as_user(65534, 65533)).text(), "65534\n65533\n65533\n", "no other groups");
        drop(guest);
        guest = Guest::ready_as_nobody();
    }
    let refused = guest.refused(as_user(54321, 54322));
    assert_eq!(refused, refusal(Stage::User, Errno::PERM, "54321:54322"));
}

#[test]
fn stdin_is_nothing_unless_it_was_asked_for() {
    let program = Exec { stdin: StdinMode::Null, ..exec(&["sh", "-c", "cat; readlink /proc/self/fd/0"]) };
    assert_eq!(Guest::ready().run(program_of(program)).text(), "/dev/null\n");
}

#[test]
fn a_rehearsal_ends_at_once_and_leaves_nothing() {
    let mut guest = Guest::ready();
    let folder = tempdir().expect("a folder");
    let cwd = folder.path().as_os_str().as_bytes().to_vec();
    let rehearsal = Exec { cwd, ..exec(&[env!("CARGO_BIN_EXE_agentkernel-guest"), "--rehearse"]) };
    let outcome = guest.run(program_of(rehearsal));
    assert_eq!((outcome.status(), outcome.stdout.len(), outcome.stderr.len()), (Status::Code(0), 0, 0));
    assert_eq!(folder.path().read_dir().expect("a folder").count(), 0);
}
