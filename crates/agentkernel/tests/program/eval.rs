//! Code of an agent's, in interpreters that are Wasm modules.

use std::os::unix::fs::MetadataExt as _;

use agentkernel_testkit::Finished;

use crate::interpreters::{self, with};
use crate::support::Trial;

fn eval(trial: &Trial, language: &str, words: &[&str]) -> Finished {
    trial.say(&[&["eval", "--lang", language], words].concat())
}

fn printed(trial: &Trial, language: &str, code: &str) -> String {
    eval(trial, language, &["-p", code]).assert_success().stdout_text()
}

#[test]
fn an_interpreter_that_is_there_is_left_alone() {
    for language in ["js", "python"] {
        if !interpreters::install(&Trial::new(), language) {
            continue;
        }
        let module = interpreters::home().join(format!("eval/{language}.wasm"));
        let inode = || module.metadata().expect("it is there").ino();
        let before = inode();
        let said = interpreters::setup(language).assert_success();
        assert!(said.stdout_text().contains("it was there already, and nothing was done"), "{said:?}");
        assert_eq!((inode(), said.stderr_text()), (before, String::new()));
    }
}

#[test]
fn an_interpreter_that_is_missing_is_told_with_the_way_to_it() {
    let said = eval(&Trial::new(), "js", &["1"]).assert_code(125);
    insta::assert_snapshot!(said.stderr_text(), @r"
    agentkernel: find the interpreter: js: it is not installed
    hint: agentkernel setup eval --lang js
    ");
}

#[test]
fn other_backends_say_why_they_do_not_run_it() {
    let said = eval(&Trial::new(), "js", &["--backend", "oci", "1"]).assert_code(125);
    insta::assert_snapshot!(said.stderr_text(), @r"
    agentkernel: run the code: oci: it runs Linux programs alone
    hint: use --backend wasm, or hyperlight
    ");
    let said = eval(&Trial::new(), "js", &["-i"]).assert_code(2);
    assert!(said.stderr_text().contains("standard input is the code"), "{said:?}");
}

#[test]
fn the_example_in_javascript_does_what_it_says() {
    let Some(trial) = with("js") else { return };
    let code = include_str!("../../../../examples/wasm/words.js");
    let said = trial.feed(&["eval", "--lang", "js", "-i", code], b"one two three\n").assert_success();
    assert_eq!(said.stdout_text(), "3 letters: 2\n5 letters: 1\n");
}

#[test]
fn code_is_a_word_or_standard_input_and_its_output_and_end_are_ours() {
    let Some(trial) = with("js") else { return };
    assert_eq!(printed(&trial, "js", "1 + 1"), "2\n");
    assert_eq!(printed(&trial, "js", ""), "");
    let said = eval(&trial, "js", &["console.log('out'); console.error('err')"]).assert_success();
    assert_eq!((said.stdout_text(), said.stderr_text()), ("out\n".into(), "err\n".into()));
    for words in [&["eval", "--lang", "js"][..], &["eval", "--lang", "js", "-"]] {
        let said = trial.feed(words, "console.log('é', 2n ** 70n)".as_bytes()).assert_success();
        assert_eq!(said.stdout_text(), "é 1180591620717411303424n\n");
    }
    let said = trial.feed(&["eval", "--lang", "js", "-i", "-p", "readStdin().split(' ')"], b"1 2 3");
    assert_eq!(said.assert_success().stdout_text(), "[ \"1\", \"2\", \"3\" ]\n");
    let wait = "setTimeout(() => console.log(2), 20); await null; console.log(1)";
    assert_eq!(eval(&trial, "js", &["--backend", "wasm", wait]).assert_success().stdout_text(), "1\n2\n");
    let said = eval(&trial, "js", &["--format", "json", "-p", "6 * 7"]).assert_success();
    let said: serde_json::Value = serde_json::from_str(&said.stdout_text()).expect("json");
    let way = if crate::BY_DAEMON { "daemon" } else { "in-process" };
    assert_eq!((&said["stdout"], &said["way"]), (&"42\n".into(), &way.into()));
}

#[test]
fn an_exception_that_nothing_catches_is_told_with_its_place() {
    let Some(trial) = with("js") else { return };
    let told = |code: &str, exit| eval(&trial, "js", &[code]).assert_code(exit).stderr_text();
    insta::assert_snapshot!(told("function f() { throw new TypeError('bad') }\nf()", 1), @r"
    TypeError: bad
        at f (<eval>:1:26)
        at <eval> (<eval>:2:1)
    ");
    assert!(told("var x = ;", 1).starts_with("SyntaxError: unexpected token"));
    assert_eq!(told("throw { a: 1 }", 1), "Uncaught { a: 1 }\n");
    assert!(told("Promise.reject(new Error('unheard'))", 1).starts_with("Error: unheard"));
    assert_eq!(
        told("await new Promise(() => {})", 13),
        "the script waits for a promise that nothing settles\n"
    );
}

#[test]
fn code_ends_at_its_limits() {
    let Some(trial) = with("js") else { return };
    eval(&trial, "js", &["--timeout", "300ms", "for (;;);"]).assert_code(124);
    let grow = "const a = []; for (;;) a.push(new Array(1e5).fill(0))";
    let grown = eval(&trial, "js", &["--memory", "32M", grow]).assert_code(1);
    assert!(grown.stderr_text().starts_with("InternalError: out of memory"), "{grown:?}");
    let flood = "for (;;) console.log('x'.repeat(1000))";
    let flooded =
        eval(&trial, "js", &["--output-limit", "100K", "--timeout", "500ms", flood]).assert_code(124);
    assert_eq!(flooded.stdout.len(), 100 << 10);
}

/// Whatever recurses meets the interpreter's limit, and never that of its host.
#[test]
fn deep_recursion_is_an_error_that_can_be_caught() {
    let Some(trial) = with("js") else { return };
    assert_eq!(printed(&trial, "js", "(function f(n) { return n ? 1 + f(n - 1) : 0 })(2000)"), "2000\n");
    let endless = [
        "(function f() { return f() + 1 })()",
        "JSON.parse('['.repeat(1e6))",
        "eval('('.repeat(1e6))",
        "let a = []; for (let i = 0; i < 1e5; i++) a = [a]; JSON.stringify(a)",
        "const o = { toString() { return '' + this } }; '' + o",
        "const p = new Proxy({}, { get: (t, k, r) => r[k] }); p.x",
        "function f() { [2, 1].sort(f) } f()",
        "function f() { 'a'.replace(/a/, f) } f()",
        "function f() { eval('f()') } f()",
        "function* g() { yield* g() } [...g()]",
        "new RegExp('(?:'.repeat(1e5)).test('')",
    ];
    for code in endless {
        let code = format!("try {{ {code} }} catch (why) {{ why.constructor.name }}");
        let name = printed(&trial, "js", &code);
        assert!(["RangeError\n", "SyntaxError\n"].contains(&name.as_str()), "{code}: {name}");
    }
}

#[test]
fn two_runs_share_no_random_numbers_and_no_state() {
    let Some(trial) = with("js") else { return };
    let random = || printed(&trial, "js", "Math.random()");
    assert_ne!(random(), random());
    eval(&trial, "js", &["globalThis.left = 1; Array.prototype.left = 2"]).assert_success();
    assert_eq!(printed(&trial, "js", "[typeof left, typeof [].left]"), "[ \"undefined\", \"undefined\" ]\n");
    let now = printed(&trial, "js", "Date.now() > 1.7e12 && performance.now() < 60000");
    assert_eq!(now, "true\n", "its clocks are not those of the snapshot");
}

#[test]
fn javascript_finds_nothing_of_the_host() {
    let Some(trial) = with("js") else { return };
    let names =
        "['require', 'process', 'std', 'os', 'fetch', 'WebAssembly', 'XMLHttpRequest', 'Deno', 'scriptArgs']";
    assert_eq!(printed(&trial, "js", &format!("{names}.filter(name => name in globalThis).length")), "0\n");
    let import =
        "let said = 'imported'; try { await import('/etc/passwd') } catch (why) { said = why.name } said";
    assert_eq!(printed(&trial, "js", import), "ReferenceError\n");
}

#[test]
fn python_runs_as_its_own_program() {
    let Some(trial) = with("python") else { return };
    let told = |code: &str, exit| eval(&trial, "python", &[code]).assert_code(exit);
    let said = told("import sys; print('é'); print('err', file=sys.stderr)", 0);
    assert_eq!((said.stdout_text(), said.stderr_text()), ("é\n".into(), "err\n".into()));
    assert_eq!(printed(&trial, "python", "import math\nx = 5\nmath.factorial(x)"), "120\n");
    assert_eq!(printed(&trial, "python", "x = 5"), "");
    insta::assert_snapshot!(told("def f():\n  raise ValueError('bad')\nf()", 1).stderr_text(), @r#"
    Traceback (most recent call last):
      File "<string>", line 3, in <module>
      File "<string>", line 2, in f
    ValueError: bad
    "#);
    for words in [&["x = = 1"][..], &["-p", "x = = 1"]] {
        insta::allow_duplicates! {
            insta::assert_snapshot!(eval(&trial, "python", words).assert_code(1).stderr_text(), @r#"
              File "<string>", line 1
                x = = 1
                    ^
            SyntaxError: invalid syntax
            "#);
        }
    }
    assert_eq!(told("import sys; sys.exit(3)", 3).stderr_text(), "");
    let said =
        trial.feed(&["eval", "--lang", "python", "-"], b"print(sorted(globals())[-1])").assert_success();
    assert_eq!(said.stdout_text(), "__spec__\n", "code finds nothing of what runs it");
    let said = trial.feed(&["eval", "--lang", "python", "-i", "print(input())"], b"line\n").assert_success();
    assert_eq!(said.stdout_text(), "line\n");
    let asynchronous =
        "import asyncio\nasync def f():\n  await asyncio.sleep(0.01)\n  return 7\nprint(asyncio.run(f()))";
    assert_eq!(told(asynchronous, 0).stdout_text(), "7\n");
}

#[test]
fn python_ends_at_its_limits_and_finds_nothing_of_the_host() {
    let Some(trial) = with("python") else { return };
    eval(&trial, "python", &["--timeout", "1s", "while True: pass"]).assert_code(124);
    let grow = "a = []\nwhile True: a.append(bytearray(1 << 20))";
    let grown = eval(&trial, "python", &["--memory", "64M", grow]).assert_code(1);
    assert!(grown.stderr_text().ends_with("MemoryError\n"), "{grown:?}");
    let deep = eval(&trial, "python", &["def f(): return f()\nf()"]).assert_code(1);
    assert!(deep.stderr_text().contains("RecursionError"), "{deep:?}");
    let attempts = [
        "open('/etc/passwd')",
        "open('/tmp/x', 'w')",
        "__import__('os').listdir('/etc')",
        "__import__('socket').create_connection(('127.0.0.1', 22))",
        "__import__('socket').socket()",
        "__import__('subprocess').run(['ls'])",
        "__import__('os').environ['PATH']",
        "__import__('threading').Thread(target=print).start()",
    ];
    for code in attempts {
        eval(&trial, "python", &[code]).assert_code(1);
    }
    let random = || printed(&trial, "python", "__import__('random').random()");
    assert_ne!(random(), random());
}
