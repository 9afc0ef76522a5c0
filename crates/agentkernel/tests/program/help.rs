//! What the program says about itself.

use agentkernel_testkit::tool_or_skip;

use crate::support::Trial;

#[test]
fn the_program_says_what_it_is_for() {
    let said = Trial::new().say(&["--help"]).assert_success();
    insta::assert_snapshot!(said.stdout_text(), @r#"
    Runs commands in hardened sandboxes, with nothing to install.

    A sandbox sees the programs of this host and nothing of its files, its network or its other
    processes.
    run needs no daemon, and is quicker with one, which keeps sandboxes warm: agentkernel serve.

    Sandboxes that live on belong to the daemon, which create starts by itself.

    Usage: agentkernel <COMMAND>

    Commands:
      run         Run a command in a sandbox of its own
      create      Make a sandbox that lives on, and print its name
      exec        Run a command in a sandbox that lives
      call        Call a function of a Wasm module, and print what it returned, as JSON
      eval        Run a piece of JavaScript or Python in an interpreter of its own
      attach      Hear a command that runs in the background, until its end
      cp          Copy files and folders into a sandbox, or out of it
      logs        Print what the background commands of a sandbox have said, as far as it is remembered
      ps          List the sandboxes that live; with -a, also those that have ended, and why [alias: ls]
      inspect     Show a sandbox, and whether its isolation holds
      stats       Show what sandboxes use, beside what they may
      start       Make sandboxes that have ended once more
      stop        End sandboxes, and remember them
      pause       Let time stand still in sandboxes
      resume      Let time go on in sandboxes that are paused
      snapshot    Keep sandboxes as they are, list and remove what is kept
      fork        Make sandboxes that go on from where one is, and print their names
      rm          Forget sandboxes that have ended; with -f, end them first
      prune       Forget every sandbox that has ended
      events      Print what happens to sandboxes, as it happens
      pool        List, set and drain the pools of warm sandboxes
      serve       Run the daemon: it owns sandboxes that live on, and keeps some warm
      shutdown    End the daemon, and every sandbox with it
      service     Let systemd run the daemon for this user
      doctor      Try each backend, and say what works here and what the rest needs
      bench       Measure the backends of this machine, and compare what was measured
      setup       Get what a backend needs beside its program
      completion  Print a completion script for a shell
      help        Print this message or the help of the given subcommand(s)

    Options:
      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version

    Examples:
      agentkernel run -- echo hello
      agentkernel run -v ./src:/workspace/src:ro -- python3 src/main.py
      agentkernel create --name web && agentkernel exec -it web -- bash
      agentkernel serve --detach --pool 4..16
      agentkernel doctor

    Files, each overriding those before it:
      /etc/agentkernel/agentkernel.toml
      ~/.config/agentkernel/agentkernel.toml  ($AGENTKERNEL_HOME/agentkernel.toml if that is set)
      ./agentkernel.toml                      (can only make things stricter)

    Environment:
      AGENTKERNEL_HOME     folder of the user's configuration and state
      AGENTKERNEL_BACKEND  backend, unless --backend is given
      AGENTKERNEL_URL      the daemon to ask, and no other: http://127.0.0.1:PORT or unix:///PATH
      AGENTKERNEL_API_KEY  token for a daemon on TCP, as agentkernel serve --tcp makes it
      AGENTKERNEL_LOG      how much the daemon logs, for example debug

    Exit codes: that of the command; or 2 wrong usage, 124 time limit, 125 failure of agentkernel,
    126 command not executable, 127 command not found, 128 + n ended by signal n.
    "#);
}

#[test]
fn run_says_what_every_flag_does_with_its_unit_and_default() {
    let said = Trial::new().say(&["run", "-h"]).assert_success();
    insta::assert_snapshot!(said.stdout_text(), @r#"
    Run a command in a sandbox of its own

    Usage: agentkernel run [OPTIONS] <CMD>...

    Arguments:
      <CMD>...  The command, word by word; no shell reads it

    Options:
          --backend <BACKEND>             What holds the sandbox; auto is the strongest boundary that
                                          works here [default: auto] [possible values: auto, apple,
                                          firecracker, qemu, hyperlight, gvisor, oci, runc, crun,
                                          docker, podman, wasm]
          --image <IMAGE>                 Root file system: host is the programs of this host without
                                          its files; others are images that docker, podman or apple has,
                                          such as docker.io/library/busybox [default: host]
          --rootfs <DIR>                  Use the folder DIR as root file system, read-only, instead of
                                          an image
          --module <FILE>                 Run the Wasm module in FILE instead of Linux programs; the
                                          command's words are its arguments
          --profile <PROFILE>             Defaults of the limits below, and whether root is allowed
                                          [default: restrictive] [possible values: restrictive,
                                          moderate, permissive]
      -v, --volume <SRC:DST[:ro]>         Mount a file or folder of this host, read-write unless :ro is
                                          said. May be repeated
          --unix-socket <HOST_PATH:NAME>  Serve a unix socket of this host inside, as
                                          /run/agentkernel/NAME. Bytes pass, and nothing else
          --user <UID[:GID]|root>         Run as this user of the sandbox; root needs --profile
                                          permissive [default: 65532:65532]
          --cpus <NUMBER>                 Processors, for example 1.5, or unlimited [default: 1;
                                          moderate 2; permissive 4]
          --memory <SIZE>                 Memory, in bytes or with K, M, G, T, or unlimited [default:
                                          512M; moderate 2G; permissive 8G]
          --pids <NUMBER>                 Processes and threads, or unlimited [default: 256; moderate
                                          1024; permissive 4096]
          --disk <SIZE>                   Size of each writable place, in bytes or with K, M, G, T
                                          [default: 1G; moderate 4G; permissive 16G]
          --warm-up <SCRIPT>              Have /bin/sh run SCRIPT in it once before it is handed out: a
                                          warm sandbox while it waits, another before its first command.
                                          What it leaves stays; if it fails, so does the start
          --hostname <NAME>               What it calls itself: a-z, 0-9 and -. Such a sandbox is never
                                          a warm one [default: random]
          --emulate                       With --backend qemu: emulate the machine in software, without
                                          KVM; not a security boundary
      -e, --env <KEY[=VALUE]>             Set a variable; with its name alone, to the value that it has
                                          here. May be repeated
      -w, --workdir <DIR>                 Start in this folder of the sandbox [default: /workspace]
      -i, --interactive                   Pass our standard input on to the command; else it has none
      -t, --tty                           Give the command a terminal; our standard input must be one
          --output-limit <SIZE>           Output that is passed on, stdout and stderr together, in bytes
                                          or with K, M, G, T [default: 64M]
          --timeout <DURATION>            Kill the command with all that it started after this time, in
                                          ms, s, m or h [default: no limit]
          --timing                        Print on stderr where the time went, in milliseconds
          --format <FORMAT>               Pass the command's output on as it is, or print one JSON
                                          object at the end [default: text] [possible values: text,
                                          json]
          --no-daemon                     Run it in this very process, even if there is a daemon with
                                          warm sandboxes
          --name <NAME>                   Name of the sandbox: a-z, 0-9 and - [default: random]
          --snapshot <SNAPSHOT>           Go on from this snapshot, which says what the sandbox is; a
                                          daemon does that, and is started if there is none
      -h, --help                          Print help (see more with '--help')
    "#);
    let long = Trial::new().say(&["run", "--help"]).assert_success().stdout_text();
    assert!(long.contains("Examples:") && long.contains("Exit codes:"), "{long}");
}

#[test]
fn eval_says_what_every_flag_does_and_that_its_boundary_is_software_alone() {
    let said = Trial::new().say(&["eval", "-h"]).assert_success();
    insta::assert_snapshot!(said.stdout_text(), @r#"
    Run a piece of JavaScript or Python in an interpreter of its own

    Usage: agentkernel eval [OPTIONS] --lang <LANGUAGE> [CODE]

    Arguments:
      [CODE]  The code; without it, or as -, it is read from standard input

    Options:
          --lang <LANGUAGE>      The code's language: JavaScript (QuickJS-ng) or Python (CPython 3.12)
                                 [possible values: js, python]
      -p, --print                Print the value of its last expression, unless that is undefined or
                                 None
          --backend <BACKEND>    What holds it; auto is hyperlight, a micro VM, where that works, else
                                 wasm, software alone [default: auto] [possible values: auto,
                                 hyperlight, wasm]
          --memory <SIZE>        Memory of the interpreter, in bytes or with K, M, G, T, or unlimited,
                                 which is 4G [default: 512M]
      -i, --interactive          Pass our standard input on to the code; else it has none
          --output-limit <SIZE>  Output that is passed on, stdout and stderr together, in bytes or with
                                 K, M, G, T [default: 64M]
          --timeout <DURATION>   Kill the command with all that it started after this time, in ms, s, m
                                 or h [default: no limit]
          --timing               Print on stderr where the time went, in milliseconds
          --format <FORMAT>      Pass the command's output on as it is, or print one JSON object at the
                                 end [default: text] [possible values: text, json]
          --no-daemon            Run it in this very process, even if there is a daemon with warm
                                 sandboxes
      -h, --help                 Print help (see more with '--help')
    "#);
    let long = Trial::new().say(&["eval", "--help"]).assert_success().stdout_text();
    assert!(long.contains("Exit codes:") && long.contains("software alone"), "{long}");
}

#[test]
fn every_subcommand_shows_an_example() {
    let trial = Trial::new();
    let asking = [
        "attach", "cp", "create", "eval", "events", "exec", "inspect", "logs", "pause", "pool", "prune", "ps",
    ];
    let others = ["resume", "rm", "serve", "service", "shutdown", "start", "stats", "stop"];
    for word in asking.into_iter().chain(others) {
        let said = trial.say(&[word, "--help"]).assert_success().stdout_text();
        assert!(said.contains("Example") && said.contains(&format!("agentkernel {word}")), "{word}: {said}");
    }
}

#[test]
fn the_version_is_the_packages() {
    let said = Trial::new().say(&["--version"]).assert_success();
    assert_eq!(said.stdout_text(), format!("agentkernel {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn there_is_a_completion_script_for_every_shell_and_it_knows_the_words() {
    let trial = Trial::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = trial.say(&["completion", shell]).assert_success().stdout_text();
        for word in ["agentkernel", "output-limit", "restrictive", "idle-timeout", "drain"] {
            assert!(script.contains(word), "{shell}: no {word}");
        }
        assert!(!script.contains("zygote__help"), "{shell}: a hidden subcommand is offered");
    }
}

/// What a shell says in which the completion script `script` has been written down.
fn in_shell(shell: &str, flag: &str, words: &str) -> Option<String> {
    let program = tool_or_skip(shell)?;
    let trial = Trial::new();
    let script = trial.say(&["completion", shell]).assert_success().stdout;
    std::fs::write(crate::support::work_file(&trial, "script"), script).expect("write");
    let said = trial.environment.run(program, &[flag, words]).assert_success();
    assert_eq!(said.stderr_text(), "", "{shell}");
    Some(said.stdout_text())
}

#[test]
fn bash_completes_subcommands_and_values() {
    let words = "source ./script
        COMP_WORDS=(agentkernel shut) COMP_CWORD=1; _agentkernel agentkernel shut agentkernel; echo ${COMPREPLY[@]}
        COMP_WORDS=(agentkernel run --profile m) COMP_CWORD=3; _agentkernel agentkernel m --profile; echo ${COMPREPLY[@]}";
    let Some(said) = in_shell("bash", "-c", words) else { return };
    assert_eq!(said, "shutdown\nmoderate\n");
}

#[test]
fn fish_completes_subcommands_and_values() {
    let words = "source ./script; complete -C 'agentkernel shut'; complete -C 'agentkernel run --profile m'";
    let Some(said) = in_shell("fish", "-c", words) else { return };
    assert_eq!(said, "shutdown\tEnd the daemon, and every sandbox with it\nmoderate\n");
}

#[test]
fn zsh_takes_the_script() {
    let words = "autoload -Uz compinit; compinit -u -d ./dump; source ./script; echo $_comps[agentkernel]";
    let Some(said) = in_shell("zsh", "-fc", words) else { return };
    assert_eq!(said, "_agentkernel\n");
}
