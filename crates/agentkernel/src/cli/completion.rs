//! `agentkernel completion`: a completion script for a shell.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::errors::Failure;
use crate::output;

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The shell
    shell: Shell,
}

const EXAMPLES: &str = "\
Examples, for the shell's own file of settings:
  source <(agentkernel completion bash)                      ~/.bashrc
  source <(agentkernel completion zsh)                       ~/.zshrc, after compinit
  agentkernel completion fish | source                       ~/.config/fish/config.fish";

/// Prints the script.
pub fn main(args: &Args) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "agentkernel", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(0)
}
