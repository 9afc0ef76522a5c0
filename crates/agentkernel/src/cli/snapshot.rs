//! `agentkernel snapshot` and `agentkernel fork`: sandboxes in use, kept as they are, and others that go on from there.

use agentkernel_api::{ForkRequest, Snapshot, SnapshotRequest};
use agentkernel_core::SnapshotName;
use clap::Subcommand;
use serde::Serialize;

use super::life::LifeFlags;
use super::{Format, change, create, daemon};
use crate::environment::Environment;
use crate::errors::Failure;
use crate::{output, paint};

/// Keep sandboxes as they are, list and remove what is kept
///
/// A snapshot has the memory, the files and the running commands of a sandbox at one moment, and the sandbox goes on.
/// agentkernel create --snapshot makes any number of others that go on from there, and run --snapshot one for a command. Each
/// has a name, an identity and random numbers of its own; programs that have drawn secrets before share these. Backends
/// firecracker and qemu keep snapshots.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    subcommand: Words,
}

const EXAMPLES: &str = "\
Examples:
  agentkernel snapshot create web prepared
  agentkernel snapshot ls
  agentkernel create --snapshot prepared --name try-1
  agentkernel snapshot rm prepared";

#[derive(Debug, Subcommand)]
enum Words {
    /// Keep a sandbox as it is, and print the snapshot's name
    Create {
        /// Name or id of the sandbox
        #[arg(value_name = "SANDBOX")]
        sandbox: String,
        /// Name of the snapshot: a-z, 0-9 and - [default: random]
        #[arg(value_name = "NAME")]
        name: Option<SnapshotName>,
    },
    /// List the snapshots
    Ls {
        /// Print a table, or one JSON object
        #[arg(long, value_name = "FORMAT", default_value = "text", value_enum)]
        format: Format,
    },
    /// Remove snapshots; sandboxes that go on from them are not concerned
    Rm {
        /// Their names
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
}

/// Make sandboxes that go on from where one is, and print their names
///
/// They have its memory, its files and its running commands, and each has a name, an identity and random numbers of its own.
/// The sandbox goes on as well. All of them are made, or none. Backends firecracker and qemu can do this.
#[derive(Debug, clap::Args)]
#[command(after_long_help = FORK_EXAMPLES)]
pub struct ForkArgs {
    /// Name or id of the sandbox
    #[arg(value_name = "SANDBOX")]
    sandbox: String,

    /// How many; with --name, each has the name with -1, -2 and so on behind it
    #[arg(long, value_name = "N", default_value = "1")]
    count: u32,

    #[command(flatten)]
    life: LifeFlags,
}

const FORK_EXAMPLES: &str = "\
Examples:
  agentkernel fork web --count 3
  for one in $(agentkernel fork web --count 3 --name try); do agentkernel exec \"$one\" -- ./attempt; done";

/// The JSON form. `schema` counts up when a reader of an older one would be misled.
#[derive(Serialize)]
struct Json<'a> {
    schema: u32,
    snapshots: &'a [Snapshot],
}

/// Does it.
pub fn main(args: &Args, environment: &Environment) -> Result<u8, Failure> {
    match &args.subcommand {
        Words::Create { sandbox, name } => {
            let request = SnapshotRequest { name: name.as_ref().map(ToString::to_string) };
            let snapshot = daemon::ask(environment, async |client| {
                let answer = client.take_snapshot(sandbox, &request).await;
                daemon::told(&client, sandbox, answer).await
            })?;
            output::print(&format!("{}\n", snapshot.name))?;
        }
        Words::Ls { format } => {
            let list = daemon::ask(environment, async |client| Ok(client.snapshots().await?))?;
            match format {
                Format::Text => output::print(&text(&list.snapshots))?,
                Format::Json => output::print_json(&Json { schema: 1, snapshots: &list.snapshots })?,
            }
        }
        Words::Rm { names } => {
            return change::each(environment, names, &async |client, name| {
                Ok(client.remove_snapshot(name).await?)
            });
        }
    }
    Ok(0)
}

/// Forks it and prints their names.
pub fn fork(args: &ForkArgs, environment: &Environment) -> Result<u8, Failure> {
    let request = ForkRequest { count: args.count, each: args.life.request()? };
    let list = create::made(environment, async |client| {
        let answer = client.fork(&args.sandbox, &request).await;
        daemon::told(client, &args.sandbox, answer).await
    })?;
    create::tell(&list.sandboxes)
}

fn text(snapshots: &[Snapshot]) -> String {
    let now = paint::now_ms();
    let row = |snapshot: &Snapshot| {
        vec![
            snapshot.name.clone(),
            snapshot.sandbox.clone(),
            snapshot.backend.clone(),
            paint::age(now.saturating_sub(snapshot.created_ms)),
            paint::bytes(snapshot.bytes),
        ]
    };
    let heading = ["name", "sandbox", "backend", "age", "size"];
    paint::lines(&paint::table(&heading, snapshots.iter().map(row)))
}
