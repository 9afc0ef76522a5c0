//! Rules of terminals.

use agentkernel_core::{Command, ExitStatus, Stdin, TerminalSize};

use super::context::{Context, stop};
use super::rule::{Kept, Needs, Rule, ensure, rule, same};
use super::talk::{finish, run, sh, until};

pub const RULES: &[Rule] = &[
    rule!(
        "terminal.is_one",
        Needs::Terminal,
        is_one,
        "With a terminal, stdin, stdout and stderr are one; without, none is."
    ),
    rule!("terminal.has_its_size", Needs::Terminal, size, "A terminal has the size that was asked for."),
    rule!(
        "terminal.follows_its_size",
        Needs::Terminal,
        resize,
        "A new size reaches the terminal, and the program is told."
    ),
    rule!(
        "terminal.control_c_interrupts",
        Needs::Terminal,
        control_c,
        "Control-C in a terminal interrupts the command."
    ),
    rule!(
        "terminal.lines_go_in_and_out",
        Needs::Terminal,
        lines,
        "What is typed reaches the command, and what it says comes back."
    ),
];

const SIZE: TerminalSize = TerminalSize { rows: 41, cols: 103 };

fn in_terminal(script: &str) -> Command {
    Command { terminal: Some(SIZE), stdin: Stdin::Pipe, ..sh(script) }
}

async fn is_one(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let script = "for number in 0 1 2; do if test -t $number; then echo yes; else echo no; fi; done";
    let with = run(&*sandbox, &in_terminal(script)).await?.text().replace('\r', "");
    same("with a terminal, 0, 1 and 2", with, "yes\nyes\nyes".to_owned())?;
    let without = run(&*sandbox, &sh(script)).await?.text();
    same("without a terminal, 0, 1 and 2", without, "no\nno\nno".to_owned())?;
    stop(sandbox).await.map(drop)
}

async fn size(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    same("rows and columns", run(&*sandbox, &in_terminal("stty size")).await?.text(), "41 103".to_owned())?;
    stop(sandbox).await.map(drop)
}

async fn resize(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let script = "trap 'stty size; exit 5' WINCH; echo ready; while :; do sleep 1000 & wait $!; done";
    let mut process = sandbox.exec(&in_terminal(script)).await?;
    until(&mut *process, "ready").await?;
    process.control().resize(TerminalSize { rows: 12, cols: 34 }).await?;
    let said = finish(process).await?;
    same("rows and columns", said.text().trim().to_owned(), "12 34".to_owned())?;
    said.ended_with(ExitStatus::Code(5))?;
    stop(sandbox).await.map(drop)
}

async fn control_c(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let mut process = sandbox.exec(&in_terminal("echo ready; exec sleep 1000")).await?;
    until(&mut *process, "ready").await?;
    process.control().write_stdin("\x03".into()).await?;
    finish(process).await?.ended_with(ExitStatus::Signal(2))?;
    stop(sandbox).await.map(drop)
}

async fn lines(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let mut process = sandbox.exec(&in_terminal("echo ready; read line; echo \"<$line>\"; exit 8")).await?;
    until(&mut *process, "ready").await?;
    process.control().write_stdin("typed words\n".into()).await?;
    let said = finish(process).await?;
    ensure!(said.text().contains("<typed words>"), "the command said {:?}", said.text());
    said.ended_with(ExitStatus::Code(8))?;
    stop(sandbox).await.map(drop)
}
