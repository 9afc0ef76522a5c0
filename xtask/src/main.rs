//! `cargo xtask`: the checks of this workspace that cargo does not have.

mod documents;
mod fences;
mod layers;
mod markdown;
mod sizes;
mod source;
mod violation;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::violation::Violation;
use crate::workspace::{Workspace, WorkspaceError};

/// Checks of this workspace that cargo does not have.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    check: Check,
}

#[derive(Subcommand)]
enum Check {
    /// Dependencies point down, and only the crates that may spawn programs or read the environment do so.
    Layers,
    /// Links in documents lead somewhere, and the proofs that those about security cite are there.
    Documents,
    /// Files and functions stay short; prints how large the built programs are.
    Sizes {
        /// Exit 1 when a file or a function is over its hard limit.
        #[arg(long)]
        deny: bool,
    },
}

fn main() -> ExitCode {
    match run(&Args::parse().check) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the check passed.
fn run(check: &Check) -> Result<bool, WorkspaceError> {
    let workspace = Workspace::load()?;
    match check {
        Check::Layers => check_layers(&workspace),
        Check::Documents => check_documents(&workspace),
        Check::Sizes { deny } => check_sizes(&workspace, *deny),
    }
}

fn check_layers(workspace: &Workspace) -> Result<bool, WorkspaceError> {
    let mut violations = layers::violations(&workspace.crates);
    violations.extend(fences::violations(workspace)?);
    report(&violations);
    let arrows: usize = workspace.crates.iter().map(|one| one.dependencies.len()).sum();
    println!("layers: {} crates, {arrows} arrows, {} violations", workspace.crates.len(), violations.len());
    Ok(violations.is_empty())
}

fn check_documents(workspace: &Workspace) -> Result<bool, WorkspaceError> {
    let checked = documents::check(workspace)?;
    report(&checked.violations);
    let documents::Checked { documents, links, proofs, violations } = &checked;
    println!("documents: {documents}, {links} links, {proofs} proofs, {} violations", violations.len());
    Ok(violations.is_empty())
}

fn report(violations: &[Violation]) {
    for violation in violations {
        eprintln!("{violation}");
    }
}

fn check_sizes(workspace: &Workspace, deny: bool) -> Result<bool, WorkspaceError> {
    let report = sizes::measure(workspace)?;
    print!("{report}");
    Ok(!deny || report.errors() == 0)
}
