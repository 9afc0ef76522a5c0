//! What works in a machine and what does not, found by running it.

use agentkernel_core::{ErrorKind, TerminalSize};

use crate::rig::{command, has_kvm, probing, run, say};

#[tokio::test]
async fn threads_and_vfork_work_and_fork_and_the_network_do_not() {
    if !has_kvm() {
        return;
    }
    let sandbox = probing().await;
    for (what, said) in [
        ("thread", "thread: works"),
        ("vfork", "vfork: works"),
        ("socketpair", "socketpair: works"),
        ("fork", "fork: Operation not supported"),
        ("socket", "socket: Permission denied"),
    ] {
        assert_eq!(say(&*sandbox, &["/bin/probe", what]).await.text(), said);
    }
}

#[tokio::test]
async fn a_program_that_would_do_something_else_than_on_linux_is_refused_by_name() {
    if !has_kvm() {
        return;
    }
    let sandbox = probing().await;
    for (program, why) in [("fixed", "position-independent"), ("sh", "fork"), ("/bin/sh", "fork")] {
        let error = run(&*sandbox, &command(&[program]), None).await.expect_err("refused");
        assert_eq!(error.kind, ErrorKind::CommandNotExecutable, "{error}");
        assert!(error.why.contains(why) && error.hint.is_some(), "{error}");
    }
    let mut terminal = command(&["probe"]);
    terminal.terminal = Some(TerminalSize { rows: 24, cols: 80 });
    let error = run(&*sandbox, &terminal, None).await.expect_err("refused");
    assert_eq!((error.kind, error.subject.as_str()), (ErrorKind::CommandRefused, "terminal"));
    let long = run(&*sandbox, &command(&["probe", &"x".repeat(600_000)]), None).await.expect_err("refused");
    assert_eq!(long.kind, ErrorKind::CommandRefused, "{long}");
    assert_eq!(say(&*sandbox, &["probe", "exit", "6"]).await.code(), 6, "the sandbox lives on");
}
