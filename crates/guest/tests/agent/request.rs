//! What the tests ask for, in few words.

use agentkernel_protocol::{Exec, FileRequest, OUTPUT_WINDOW, Start, StdinMode, Task, WindowSize};

/// A program with these words, and PATH as its whole environment.
pub fn exec(argv: &[&str]) -> Exec {
    let argv = argv.iter().map(|word| word.as_bytes().to_vec()).collect();
    let path = (b"PATH".to_vec(), b"/usr/local/bin:/usr/bin:/bin".to_vec());
    Exec { argv, env: vec![path], cwd: b"/".to_vec(), stdin: StdinMode::Pipe, terminal: None }
}

pub fn start(task: Task) -> Start {
    Start { task, user: None, timeout_ms: None, output_window: OUTPUT_WINDOW }
}

pub fn program_of(exec: Exec) -> Start {
    start(Task::Exec(exec))
}

pub fn words(argv: &[&str]) -> Start {
    program_of(exec(argv))
}

pub fn shell(script: &str) -> Start {
    words(&["/bin/sh", "-c", script])
}

pub fn file(request: FileRequest) -> Start {
    start(Task::File(request))
}

/// A shell script at a terminal.
pub fn terminal(script: &str, size: WindowSize) -> Start {
    program_of(Exec { terminal: Some(size), ..exec(&["/bin/sh", "-c", script]) })
}
