use super::*;

#[test]
fn a_name_is_never_looked_up() {
    assert!(Program::new(Path::new("sh")).is_err());
    assert!(Program::new(Path::new("./sh")).is_err());
}

#[test]
fn a_signal_of_the_terminals_does_not_reach_who_is_attended() {
    let program = Program::new(Path::new("/bin/sh")).expect("absolute");
    let program = program.argument("-c").argument("ps -o pgid= $$ || cut -d' ' -f5 /proc/$$/stat");
    let mut running = program.spawn_attended(&[("PATH", "/usr/bin:/bin")]).expect("started");
    let mut group = String::new();
    running.stdout.take().expect("a stream").read_to_string(&mut group).expect("read");
    assert_eq!(group.trim(), running.pid().to_string(), "it leads a group of its own");
}

#[test]
fn output_is_taken_and_whatever_hangs_or_fails_is_gone() {
    let sh = |script: &str, deadline| {
        let program = Program::new(Path::new("/bin/sh")).expect("absolute");
        program.argument("-c").argument(script).output(Duration::from_millis(deadline))
    };
    assert_eq!(sh("echo out; echo err >&2; env", 60_000).expect("it ends"), "out\nerr\nPWD=/\n");
    let program =
        Program::new(Path::new("/bin/sh")).expect("absolute").argument("-c").argument("echo $NAME $HOME");
    let variables = [("NAME".to_owned(), "value".into())];
    let said = program.output_with(&variables, Duration::from_secs(60)).expect("it ends");
    assert_eq!(said, "value\n");
    assert!(sh("echo why; exit 3", 60_000).expect_err("it fails").to_string().contains("3: why"));
    assert_eq!(sh("exec sleep 1000", 50).expect_err("it hangs").kind(), io::ErrorKind::TimedOut);
}

#[test]
fn an_attended_program_has_the_streams_and_variables_that_it_is_given_and_ends_with_its_handle() {
    let sh = Program::new(Path::new("/bin/sh")).expect("absolute");
    let script = "read word; echo \"$word $NAME $HOME.\"; echo no >&2; exit 7";
    let mut attended =
        sh.clone().argument("-c").argument(script).spawn_attended(&[("NAME", "value")]).expect("spawned");
    let mut stdin = attended.stdin.take().expect("its input");
    io::Write::write_all(&mut stdin, b"said\n").expect("written");
    let mut said = String::new();
    attended.stdout.take().expect("its output").read_to_string(&mut said).expect("read");
    assert_eq!((said.as_str(), attended.wait().expect("ended").code()), ("said value .\n", Some(7)));

    let mut hanging = sh.argument("-c").argument("exec sleep 1000").spawn_attended(&[]).expect("spawned");
    let pid = hanging.pid();
    assert!(hanging.has_ended().expect("looked at").is_none());
    drop(hanging);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn dropping_the_handle_ends_the_program() {
    let (reader, writer) = io::pipe().expect("pipe");
    let spawned = Program::new(Path::new("/bin/cat")).expect("absolute").spawn(reader.into()).expect("spawn");
    let pid = spawned.pid();
    drop(spawned);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    drop(writer);
}
