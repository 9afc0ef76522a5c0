//! A command: its words, its streams, its end.

use std::time::Duration;

use agentkernel_core::{Backend as _, ErrorKind, ExitStatus, Image, SignalTarget};

use crate::rig::{backend, command, has_kvm, probing, run, say, spec};

#[tokio::test]
async fn words_variables_and_folders_arrive_byte_for_byte() {
    if !has_kvm() {
        return;
    }
    let booted = backend().boot(&spec(Image::Host, 128)).await.unwrap_or_else(|why| panic!("{why}"));
    let sandbox = booted.sandbox;
    let said = say(&*sandbox, &["printf", "%s|", "a b", "", "'\"$x\n", "é"]).await;
    assert_eq!(said.stdout, "a b||'\"$x\n|é|".as_bytes());
    let mut odd = command(&["printf", "%s"]);
    odd.argv.push(vec![0xff, 0xfe, b'x']);
    assert_eq!(run(&*sandbox, &odd, None).await.expect("it runs").stdout, [0xff, 0xfe, b'x']);
    let mut told = command(&["env"]);
    told.env = vec![(b"A".to_vec(), b"1 = 2".to_vec()), (b"HOME".to_vec(), b"/mine".to_vec())];
    let said = run(&*sandbox, &told, None).await.expect("it runs").text();
    assert!(said.contains("A=1 = 2\n") || said.ends_with("A=1 = 2"), "{said}");
    assert!(said.contains("HOME=/mine") && said.contains("PATH=") && said.lines().count() == 3, "{said}");
    let mut elsewhere = command(&["pwd"]);
    elsewhere.cwd = Some(b"/usr/bin".to_vec());
    assert_eq!(run(&*sandbox, &elsewhere, None).await.expect("it runs").text(), "/usr/bin");
    let listed = say(&*sandbox, &["ls", "/nonexistent"]).await;
    assert_eq!((listed.code(), listed.stdout.len()), (2, 0));
    assert!(String::from_utf8_lossy(&listed.stderr).contains("nonexistent"), "stderr is apart");
}

#[tokio::test]
async fn stdin_reaches_a_command_and_its_output_comes_back_byte_for_byte() {
    if !has_kvm() {
        return;
    }
    let booted = backend().boot(&spec(Image::Host, 128)).await.unwrap_or_else(|why| panic!("{why}"));
    let bytes: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    let said = run(&*booted.sandbox, &command(&["cat"]), Some(bytes.clone())).await.expect("it runs");
    assert_eq!(said.stdout.len(), bytes.len());
    assert!(said.stdout == bytes);
    assert_eq!(run(&*booted.sandbox, &command(&["cat"]), None).await.expect("it runs").stdout, b"");
    let heard = run(&*booted.sandbox, &command(&["head", "-c1"]), Some(vec![b'x'; 150_000])).await;
    assert_eq!(heard.expect("it does not read the rest").stdout, b"x");
}

#[tokio::test]
async fn the_end_of_a_command_is_exact() {
    if !has_kvm() {
        return;
    }
    let sandbox = probing().await;
    for code in [0, 1, 77, 128, 255_u8] {
        let said = say(&*sandbox, &["probe", "exit", &code.to_string()]).await;
        assert_eq!(said.exited.status, ExitStatus::Code(code));
    }
    for number in [6, 9, 15_u8] {
        let said = say(&*sandbox, &["probe", "signal", &number.to_string()]).await;
        assert_eq!(said.exited.status, ExitStatus::Signal(number));
    }
    assert_eq!(say(&*sandbox, &["script"]).await.exited.status, ExitStatus::Code(0), "by its interpreter");
    let crashed = say(&*sandbox, &["probe", "crash"]).await;
    assert_eq!(crashed.exited.status, ExitStatus::Signal(11));
    assert!(String::from_utf8_lossy(&crashed.stderr).contains("its machine crashed"), "{crashed:?}");
    assert_eq!(say(&*sandbox, &["probe", "exit", "3"]).await.code(), 3, "the next one has a machine again");
    let missing = run(&*sandbox, &command(&["nothing"]), None).await.expect_err("it is not there");
    assert_eq!(missing.kind, ErrorKind::CommandNotFound);
}

#[tokio::test]
async fn a_command_that_computes_or_waits_for_ever_ends_at_its_deadline_or_by_a_signal() {
    if !has_kvm() {
        return;
    }
    let sandbox = probing().await;
    for what in ["spin", "pause"] {
        let mut endless = command(&["probe", what]);
        endless.timeout = Some(Duration::from_secs(1));
        let said = run(&*sandbox, &endless, None).await.expect("it runs");
        assert!(said.exited.timed_out, "{what}: {said:?}");
        let process = sandbox.exec(&command(&["probe", what])).await.expect("it starts");
        process.control().signal(15, SignalTarget::Process).await.expect("sent");
        let mut process = process;
        let ended = process.next().await.expect("it ends");
        let agentkernel_core::ProcessEvent::Exited(ended) = ended else { panic!("{ended:?}") };
        assert_eq!((ended.status, ended.timed_out), (ExitStatus::Signal(15), false), "{what}");
    }
}
