//! Rules of starting commands and of how they end.

use std::collections::BTreeMap;

use agentkernel_core::{Command, CommandUser, ErrorKind, ExitStatus, Sandbox};

use super::context::{Context, WORKSPACE, stop};
use super::rule::{Broken, Kept, Needs, Rule, ensure, rule, same, same_bytes};
use super::talk::{all, feed, finish, refused, run, sh, sh_with_stdin, text_of, until};
use super::usage::usage;

pub const RULES: &[Rule] = &[
    rule!(
        "exec.argv_arrives_word_by_word",
        Needs::Nothing,
        argv,
        "Every word is bytes and reaches the program unchanged."
    ),
    rule!(
        "exec.environment_is_exact",
        Needs::Nothing,
        environment,
        "A command has PATH, HOME, TERM and what is named; nothing is inherited."
    ),
    rule!(
        "exec.starts_in_the_named_folder",
        Needs::Nothing,
        folder,
        "A command starts in the folder that is named, else in the workspace."
    ),
    rule!("exec.exit_code_is_exact", Needs::Nothing, exit_code, "An exit code arrives as it is."),
    rule!(
        "exec.death_by_signal_is_exact",
        Needs::Nothing,
        death_by_signal,
        "A death by signal is told as that signal, and as no exit code."
    ),
    rule!(
        "exec.a_missing_program_is_told",
        Needs::Nothing,
        missing_program,
        "A program that does not exist is refused as CommandNotFound."
    ),
    rule!(
        "exec.a_program_that_cannot_be_executed_is_told",
        Needs::Nothing,
        not_executable,
        "A file that cannot be executed is refused as CommandNotExecutable."
    ),
    rule!(
        "exec.a_missing_folder_is_told",
        Needs::Nothing,
        missing_folder,
        "A working directory that does not exist is refused as CommandRefused."
    ),
    rule!(
        "exec.fifty_run_at_once",
        Needs::Nothing,
        fifty_at_once,
        "Many commands may run at once, and none delays another."
    ),
    rule!(
        "exec.pid_is_the_commands_own",
        Needs::Nothing,
        pid,
        "The PID is the command's, inside the sandbox."
    ),
    rule!(
        "exec.a_named_user_is_obeyed_or_refused",
        Needs::Nothing,
        user,
        "A command runs as the user that was named, or not at all."
    ),
    rule!(
        "exec.usage_is_told",
        Needs::Nothing,
        usage,
        "What a command used is told: processor, memory and time."
    ),
];

/// Prints its arguments, each ended by a NUL.
const PRINT_WORDS: &[&[u8]] = &[b"/bin/sh", b"-c", b"printf '%s\\0' \"$@\"", b"sh"];

async fn argv(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let strange: &[&[u8]] = &[
        b"two words",
        b"",
        b" ",
        b"line\nbreak",
        b"tab\t",
        b"'single'",
        b"\"double\"",
        b"$HOME `id` $(id) \\ *",
        b"-n",
        b"--",
        b"\xff\xfe\x80",
        "\u{fc}\u{4e2d}".as_bytes(),
        b"a=b",
        b"\x1b[31m\r",
    ];
    let many: Vec<Vec<u8>> = (0..1000_u32).map(|number| format!("{number:0>100}").into_bytes()).collect();
    let long = vec![b'x'; 100 << 10];
    for words in [strange.iter().map(|word| word.to_vec()).collect(), many, vec![long]] {
        let mut expected = words.join(&0);
        expected.push(0);
        let command = Command::new(PRINT_WORDS.iter().map(|word| word.to_vec()).chain(words));
        let said = run(&*sandbox, &command).await?;
        same_bytes("words", &said.stdout, &expected)?;
        said.ended_with(ExitStatus::Code(0))?;
    }
    stop(sandbox).await.map(drop)
}

async fn environment(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let named: [(&[u8], &[u8]); 5] = [
        (b"PLAIN", b"1"),
        (b"EMPTY", b""),
        (b"LINES", b"a\nb=c d"),
        (b"BYTES", b"\xff\xfe"),
        (b"HOME", b"/elsewhere"),
    ];
    let own = variables(&*sandbox, &[]).await?;
    let names: Vec<_> = own.keys().map(|name| name.escape_ascii().to_string()).collect();
    let others: Vec<_> =
        names.iter().filter(|name| !["HOME", "PATH", "TERM"].contains(&name.as_str())).collect();
    ensure!(others.is_empty(), "nobody named {others:?}");
    ensure!(own.len() == 3 && own.values().all(|value| !value.is_empty()), "it has only {names:?}");
    // What is named comes on top, and in the place of what there was.
    let mut expected = own;
    expected.extend(named.map(|(name, value)| (name.to_vec(), value.to_vec())));
    let found = variables(&*sandbox, &named).await?;
    for (name, value) in &expected {
        let what = format!("value of {}", name.escape_ascii());
        let value_found = found.get(name).ok_or_else(|| Broken(format!("{what}: there is none")))?;
        same_bytes(&what, value_found, value)?;
    }
    same("number of variables", found.len(), expected.len())?;
    stop(sandbox).await.map(drop)
}

/// The environment of a command with these variables.
async fn variables(
    sandbox: &dyn Sandbox,
    named: &[(&[u8], &[u8])],
) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Broken> {
    let mut command = Command::new(["/usr/bin/env", "-0"]);
    command.env = named.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    let said = run(sandbox, &command).await?;
    said.ended_with(ExitStatus::Code(0))?;
    let mut found = BTreeMap::new();
    for entry in said.stdout.split(|byte| *byte == 0).filter(|entry| !entry.is_empty()) {
        let name = entry.split(|byte| *byte == b'=').next().unwrap_or_default();
        let value = entry.get(name.len() + 1..).unwrap_or_default();
        let twice = found.insert(name.to_vec(), value.to_vec()).is_some();
        ensure!(!twice, "{} is there twice", name.escape_ascii());
    }
    Ok(found)
}

async fn folder(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let place = format!("{WORKSPACE}/a folder/\u{fc}");
    sandbox.files().make_dir(place.as_bytes(), 0o755, true).await?;
    let print_folder = |cwd: Option<&str>| Command {
        cwd: cwd.map(|path| path.as_bytes().to_vec()),
        ..Command::new(["/bin/pwd", "-P"])
    };
    for (cwd, expected) in [(None, WORKSPACE), (Some(WORKSPACE), WORKSPACE), (Some(&*place), &*place)] {
        let found = run(&*sandbox, &print_folder(cwd)).await?.text();
        ensure!(found.ends_with(expected), "cwd {cwd:?}: found {found:?}, expected {expected:?}");
    }
    stop(sandbox).await.map(drop)
}

async fn exit_code(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    // 137 is what a shell says of a command that died by signal 9: here it is a code like any other.
    for code in [0, 1, 7, 126, 127, 128, 137, 255] {
        run(&*sandbox, &sh(&format!("exit {code}"))).await?.ended_with(ExitStatus::Code(code))?;
    }
    stop(sandbox).await.map(drop)
}

async fn death_by_signal(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    for (name, number) in [("KILL", 9), ("TERM", 15), ("HUP", 1), ("USR1", 10)] {
        let said = run(&*sandbox, &sh(&format!("kill -{name} $$; exit 3"))).await?;
        said.ended_with(ExitStatus::Signal(number))?;
    }
    stop(sandbox).await.map(drop)
}

async fn missing_program(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    for program in ["/no/such/program", "no-such-program", ""] {
        let result = sandbox.exec(&Command::new([program])).await;
        refused(&format!("program {program:?}"), result, ErrorKind::CommandNotFound)?;
    }
    still_works(&*sandbox).await?;
    stop(sandbox).await.map(drop)
}

async fn not_executable(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    // A relative program is sought from the working directory, which is the workspace.
    text_of(&*sandbox, "echo 'echo ran' >script && chmod 644 script && mkdir folder").await?;
    for program in ["./script", "./folder"] {
        let result = sandbox.exec(&Command::new([program])).await;
        refused(program, result, ErrorKind::CommandNotExecutable)?;
    }
    still_works(&*sandbox).await?;
    stop(sandbox).await.map(drop)
}

async fn missing_folder(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    text_of(&*sandbox, "echo x >file").await?;
    for folder in ["no-such-folder", "file"] {
        let cwd = Some(format!("{WORKSPACE}/{folder}").into_bytes());
        let result = sandbox.exec(&Command { cwd, ..sh("echo ran") }).await;
        refused(&format!("cwd {folder}"), result, ErrorKind::CommandRefused)?;
    }
    still_works(&*sandbox).await?;
    stop(sandbox).await.map(drop)
}

/// After a refusal, the next command runs.
async fn still_works(sandbox: &dyn Sandbox) -> Kept {
    same("the next command", text_of(sandbox, "echo works").await?, "works".to_owned())
}

async fn fifty_at_once(context: &Context<'_>) -> Kept {
    const COMMANDS: usize = 50;
    let sandbox = context.boot().await?;
    let command = sh_with_stdin("echo up; read word; echo \"$word\"");
    // Nobody is given a word before all have said that they are up, hence all run at the same time.
    let started = all((0..COMMANDS).map(|_| {
        Box::pin(async {
            let mut process = sandbox.exec(&command).await?;
            until(&mut *process, "up\n").await?;
            Ok::<_, Broken>(process)
        })
    }));
    let mut processes = Vec::new();
    for process in started.await {
        processes.push(process?);
    }
    let ended = processes.into_iter().enumerate().map(|(number, process)| {
        Box::pin(async move {
            feed(&*process.control(), format!("word {number}\n").as_bytes()).await?;
            finish(process).await
        })
    });
    for (number, said) in all(ended).await.into_iter().enumerate() {
        same("answer", said?.text(), format!("word {number}"))?;
    }
    stop(sandbox).await.map(drop)
}

async fn pid(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let process = sandbox.exec(&sh("echo $$")).await?;
    let told = process.pid();
    same("PID", finish(process).await?.text(), told.to_string())?;
    stop(sandbox).await.map(drop)
}

async fn user(context: &Context<'_>) -> Kept {
    let sandbox = context.boot().await?;
    let own = text_of(&*sandbox, "echo $(id -u) $(id -g)").await?;
    for user in [CommandUser { uid: 1234, gid: 2345 }, CommandUser { uid: 65533, gid: 65533 }] {
        let command = Command { user: Some(user), cwd: Some(b"/".to_vec()), ..sh("echo $(id -u) $(id -G)") };
        match sandbox.exec(&command).await {
            Ok(process) => {
                same("user and groups", finish(process).await?.text(), format!("{} {}", user.uid, user.gid))?;
            }
            Err(error) => same("refusal", error.kind, ErrorKind::CommandRefused)?,
        }
    }
    same("own user afterwards", text_of(&*sandbox, "echo $(id -u) $(id -g)").await?, own)?;
    stop(sandbox).await.map(drop)
}
