//! `agentkernel bench report`: what was measured, as Markdown and as SVG.

use std::path::PathBuf;

use agentkernel_bench::suite::stored::{self, Stored};
use agentkernel_bench::suite::{page, plot, table};

use super::{RESULTS, host};
use crate::errors::{self, Failure};
use crate::output;

/// Print a run as Markdown
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder of a run, or one that holds runs: then the newest of them
    #[arg(default_value = RESULTS)]
    run: PathBuf,

    /// Draw it anew into this folder, as SVG
    #[arg(long, value_name = "DIR", conflicts_with = "page")]
    plots: Option<PathBuf>,

    /// All tables of BENCHMARKS.md, of every run in the folder that was taken on the newest one's machine
    #[arg(long)]
    page: bool,

    /// Put the page into the marked place of this file, instead of printing it
    #[arg(long, value_name = "FILE", requires = "page")]
    write: Option<PathBuf>,
}

/// Does it.
pub fn main(args: &Args) -> Result<u8, Failure> {
    if !args.page {
        let (folder, run, count) = stored::newest(&args.run)?;
        output::print(&table::of(&run))?;
        if let Some(plots) = &args.plots {
            std::fs::create_dir_all(plots).map_err(|why| host("make the folder of the plots", why))?;
            let names = plot::save(&run, plots)?;
            errors::say(&format!("{} are in {}", names.join(", "), plots.display()));
        }
        if count > 1 {
            errors::say(&format!("this is {}, the newest of {count} runs", folder.display()));
        }
        return Ok(0);
    }
    let page = page::of(&Stored::load(&args.run)?);
    match &args.write {
        Some(file) => page::write(&page, file)?,
        None => output::print(&page)?,
    }
    Ok(0)
}
