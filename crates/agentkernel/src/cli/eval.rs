//! `agentkernel eval`: a piece of code, in an interpreter that is a Wasm module.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Instant;

use agentkernel_core::{BackendKind, ByteSize, Error, ErrorKind, Limit};
use agentkernel_eval::{Code, Language, Store};
use agentkernel_runtime::BackendRequest;
use agentkernel_runtime::config::Layer;

use super::call::BACKENDS;
use super::command_flags::CommandFlags;
use super::flags::{self, SandboxFlags, usage};
use super::run::{self, RunFlags};
use super::words::OneOf;
use crate::environment::Environment;
use crate::errors::{self, Failure};

/// What --lang may say.
pub const LANGUAGES: &[&str] = &[Language::Js.as_str(), Language::Python.as_str()];

/// Run a piece of JavaScript or Python in an interpreter of its own
///
/// The interpreter is a Wasm module, of which each run has an instance of its own: nothing that earlier code left in it is
/// there. Code has no files, no network and no variables; standard output, error and the exit code are its own. With
/// wasm, what holds it is software alone, in the process of agentkernel, or of the daemon if one answers (agentkernel serve).
///
/// agentkernel setup eval gets the interpreters.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// The code's language: JavaScript (QuickJS-ng) or Python (CPython 3.12)
    #[arg(long, value_name = "LANGUAGE", value_parser = OneOf::new(LANGUAGES, Language::from_str))]
    lang: Language,

    /// Print the value of its last expression, unless that is undefined or None
    #[arg(short = 'p', long)]
    print: bool,

    /// What holds it; auto is hyperlight, a micro VM, where that works, else wasm, software alone [default: auto]
    #[arg(long, value_name = "BACKEND", value_parser = OneOf::new(BACKENDS, BackendRequest::from_str))]
    backend: Option<BackendRequest>,

    /// Memory of the interpreter, in bytes or with K, M, G, T, or unlimited, which is 4G [default: 512M]
    #[arg(long, value_name = "SIZE")]
    memory: Option<Limit<ByteSize>>,

    /// Pass our standard input on to the code; else it has none
    #[arg(short = 'i', long)]
    interactive: bool,

    #[command(flatten)]
    run: RunFlags,

    /// The code; without it, or as -, it is read from standard input
    #[arg(value_name = "CODE", allow_negative_numbers = true)]
    code: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  agentkernel eval --lang js -p '6 * 7'
  agentkernel eval --lang python --timeout 5s --memory 256M - < script.py
  echo 1 2 3 | agentkernel eval --lang js -i 'console.log(readStdin().split(\" \").length)'
  agentkernel eval --lang python --format json 'import sys; sys.exit(3)'

Exit codes: that of the code, which is 1 for an exception that nothing caught; or 2 wrong usage, 13 JavaScript that waits for
what never comes, 124 time limit, 125 failure of agentkernel.";

/// Runs it and reports. Returns the exit code.
pub fn main(args: &Args, began: Instant, environment: &Environment) -> Result<u8, Failure> {
    let code = Code { text: args.code.as_deref().filter(|code| *code != "-"), print: args.print };
    if code.text.is_none() && args.interactive {
        let why = "standard input is the code, and cannot be its input as well";
        return Err(usage("-i", why).hint("write the code as a word").into());
    }
    let layer = Layer { backend: args.backend, ..Layer::default() };
    flags::check_runs_modules(flags::settings(&layer, environment)?.backend, "run the code")?;
    let (module, words) = interpreter(args.lang, &code, environment)?;
    let sandbox = SandboxFlags::of_module(args.backend, &module, args.memory);
    let stdin = CommandFlags::of_stdin(args.interactive || code.text.is_none());
    run::main(&run::Args::of_module(sandbox, stdin, args.run.clone(), words), began, environment)
}

/// The interpreter's module, and the words of a command in it.
fn interpreter(
    language: Language,
    code: &Code<'_>,
    environment: &Environment,
) -> Result<(PathBuf, Vec<OsString>), Error> {
    let module = Store::below(&environment.eval_home()?).ready(language)?;
    let words = std::iter::once(language.to_string()).chain(language.arguments(code));
    Ok((module, words.map(OsString::from).collect()))
}

/// Tries an interpreter out, by which its machine code is made and kept for those to come.
pub fn try_out(language: Language, environment: &Environment) -> Result<(), Failure> {
    let (module, words) = interpreter(language, &TRIAL, environment)?;
    let sandbox = SandboxFlags::of_module(Some(BackendRequest::Named(BackendKind::Wasm)), &module, None);
    let run = RunFlags { no_daemon: true, ..RunFlags::default() };
    let args = run::Args::of_module(sandbox, CommandFlags::default(), run, words);
    let (done, said) = run::quietly(&args, environment)?;
    if said.stdout == b"2\n" && errors::code_of_run(&done.ending, done.cause) == 0 {
        return Ok(());
    }
    let why = format!("1 + 1 is 2, and it said {:?}", String::from_utf8_lossy(&said.stdout));
    Err(Error::new(ErrorKind::Internal, "try the interpreter", why).on(language).into())
}

/// What both languages have the same words for.
const TRIAL: Code<'static> = Code { text: Some("1 + 1"), print: true };
