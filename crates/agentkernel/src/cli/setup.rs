//! `agentkernel setup`: gets what a backend needs and no package installs.

use std::path::PathBuf;

use agentkernel_core::{Error, ErrorKind};
use agentkernel_microvm::setup;

use crate::environment::Environment;
use crate::errors::Failure;
use crate::{output, progress};

/// Get what a backend needs beside its program
///
/// For machines that is a kernel: Debian's own, downloaded by apt-get and installed nowhere, or a file that is named. It is
/// kept below AGENTKERNEL_HOME, or in the user's cache.
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
    },
}

const EXAMPLES: &str = "\
Examples:
  agentkernel setup microvm
  agentkernel setup microvm --kernel ./vmlinux";

/// Gets it, and says what it is.
pub fn main(args: &Args, environment: &Environment) -> Result<u8, Failure> {
    let What::Microvm { kernel } = &args.what;
    let home = environment.microvm_home().ok_or_else(|| {
        Error::new(ErrorKind::Usage, "set up the kernel", "there is no folder for it")
            .hint("set AGENTKERNEL_HOME")
    })?;
    let kernel = match kernel {
        Some(file) => setup::from_file(&home, &environment.absolute(file)?)?,
        None => {
            let steps = progress::Steps::new();
            setup::from_debian(&home, &environment.search_path(), &mut |step| steps.say(step))?
        }
    };
    output::print(&format!(
        "kernel: {}\nsha256: {}\nmodules: {}\nfolder: {}\n",
        kernel.source,
        kernel.sha256,
        kernel.modules.len(),
        home.display()
    ))?;
    Ok(0)
}
