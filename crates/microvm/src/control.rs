//! The conversation with a VMM about its machine, whichever speaks.

use std::io;
use std::path::Path;
use std::time::Duration;

use agentkernel_core::Control as Fact;
use agentkernel_link::still_held;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use crate::api::Api;
use crate::plan::{Accelerator, VmPlan};
use crate::qmp::Qmp;

/// How long a VMM may take to write a snapshot: some hundred megabytes on a slow disk.
const WRITE_DEADLINE: Duration = Duration::from_secs(60);

/// How soon is asked again whether it has.
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// As fast as the disk is, bytes a second: QEMU's own limit is for networks.
const BANDWIDTH: u64 = 1 << 40;

/// What the file of a snapshot is called between us and QEMU.
const SNAPSHOT: &str = "snapshot";

/// The way to a VMM.
#[derive(Debug)]
pub(crate) enum Control {
    /// QEMU's.
    Qmp(Qmp),
    /// Firecracker's.
    Api(Api),
}

impl Control {
    /// Stops time in the machine.
    pub(crate) async fn pause(&mut self) -> io::Result<()> {
        match self {
            Self::Qmp(qmp) => qmp.ask("stop", None).await.map(drop),
            Self::Api(api) => api.ask(&("PATCH", "/vm", json!({"state": "Paused"}))).await.map(drop),
        }
    }

    /// Lets it go on.
    pub(crate) async fn resume(&mut self) -> io::Result<()> {
        match self {
            Self::Qmp(qmp) => qmp.ask("cont", None).await.map(drop),
            Self::Api(api) => api.ask(&("PATCH", "/vm", json!({"state": "Resumed"}))).await.map(drop),
        }
    }

    /// Calls the agent of a machine that was kept and goes on, if it is the host who calls. Never ends by itself.
    pub(crate) async fn call_back(&self) -> Option<UnixStream> {
        match self {
            Self::Qmp(_) => None,
            Self::Api(api) => Some(api.call_back(async |stream| still_held(stream).await).await),
        }
    }

    /// Asks it to end; one that cannot be asked has to be killed.
    pub(crate) async fn quit(&mut self) -> io::Result<()> {
        match self {
            Self::Qmp(qmp) => qmp.ask("quit", None).await.map(drop),
            Self::Api(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Has it write the snapshot of a machine that waits: into `file`, or where its plan says.
    pub(crate) async fn write_snapshot(&mut self, plan: &VmPlan, file: &Path) -> io::Result<()> {
        let slow = |_| io::Error::new(io::ErrorKind::TimedOut, "the snapshot is not written in time");
        let written = async {
            match self {
                Self::Qmp(qmp) => migrate(qmp, file).await,
                Self::Api(api) => {
                    for request in plan.snapshot_requests() {
                        api.ask(&request).await?;
                    }
                    Ok(())
                }
            }
        };
        timeout(WRITE_DEADLINE, written).await.map_err(slow)?
    }

    /// What it says of the machine.
    pub(crate) async fn facts(&mut self, plan: &VmPlan) -> io::Result<Vec<Fact>> {
        let told = match self {
            Self::Qmp(qmp) => of_qemu(qmp).await?,
            Self::Api(api) => of_firecracker(api).await?,
        };
        let of_kvm = plan.accelerator == Accelerator::Kvm;
        let planned = [
            ("machine.kvm", of_kvm.to_string()),
            ("machine.memory", (plan.memory_mib << 20).to_string()),
            ("machine.processors", plan.processors.to_string()),
            ("machine.disks", "1".to_owned()),
            ("machine.writable_disks", "0".to_owned()),
            ("machine.network_devices", "0".to_owned()),
        ];
        let pairs = planned.into_iter().zip(told);
        Ok(pairs.map(|((name, planned), told)| Fact::exact(name, planned, told)).collect())
    }
}

/// Virtualised; bytes; processors; disks, and those that can be written to; network devices.
type Told = [String; 6];

async fn of_qemu(qmp: &mut Qmp) -> io::Result<Told> {
    let kvm = qmp.ask("query-kvm", None).await?["enabled"] == true;
    let memory = qmp.ask("query-memory-size-summary", None).await?["base-memory"].to_string();
    let processors = qmp.ask("query-cpus-fast", None).await?.as_array().map_or(0, Vec::len);
    let disks = qmp.ask("query-block", None).await?;
    let network = qmp.ask("query-rx-filter", None).await?;
    let writable = list(&disks).filter(|disk| disk["inserted"]["ro"] != true).count();
    let counts = [processors, list(&disks).count(), writable, list(&network).count()];
    let [processors, disks, writable, network] = counts.map(|count| count.to_string());
    Ok([kvm.to_string(), memory, processors, disks, writable, network])
}

/// It has no other way than KVM.
async fn of_firecracker(api: &Api) -> io::Result<Told> {
    let machine = api.ask(&("GET", "/vm/config", Value::Null)).await?;
    let (size, disks) = (&machine["machine-config"], &machine["drives"]);
    let memory = size["mem_size_mib"].as_u64().map_or("unknown".into(), |mib| (mib << 20).to_string());
    let writable = list(disks).filter(|disk| disk["is_read_only"] != true).count();
    let counts = [list(disks).count(), writable, list(&machine["network-interfaces"]).count()];
    let [disks, writable, network] = counts.map(|count| count.to_string());
    Ok(["true".into(), memory, size["vcpu_count"].to_string(), disks, writable, network])
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

async fn migrate(qmp: &mut Qmp, file: &Path) -> io::Result<()> {
    // It runs meanwhile, and hardly: what is written is a machine that runs as soon as it is read.
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(file)?;
    qmp.give(SNAPSHOT, file.into()).await?;
    qmp.ask("migrate-set-parameters", Some(json!({"max-bandwidth": BANDWIDTH}))).await?;
    qmp.ask("migrate", Some(json!({"uri": format!("fd:{SNAPSHOT}")}))).await?;
    loop {
        let state = qmp.ask("query-migrate", None).await?;
        match state["status"].as_str() {
            Some("completed") => return Ok(()),
            Some("failed" | "cancelled") => {
                let why = state["error-desc"].as_str().unwrap_or("the VMM does not say why");
                return Err(io::Error::other(why.to_owned()));
            }
            _ => sleep(ASK_AGAIN).await,
        }
    }
}
