//! What a plan means to mount, and what the host must find mounted then.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bundle::{READ_ONLY_PATHS, ROOTFS, STAGE};
use crate::mountinfo::MountLine;
use crate::plan::{Plan, Privilege, Step};

/// All mounts of a sandbox but those that are the same in each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PlannedMounts {
    /// The root and the kernel's own file systems.
    pub(super) own: Vec<OwnMount>,
    /// Files and folders of the host.
    pub(super) binds: Vec<PlannedBind>,
}

/// A file system that the boundary makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OwnMount {
    pub(super) place: String,
    /// As [`describe`] says it.
    pub(super) is: String,
}

/// A file or folder of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PlannedBind {
    pub(super) place: String,
    /// `MAJOR:MINOR` of its file system, and what of it.
    pub(super) device: String,
    pub(super) root: String,
    pub(super) read_only: bool,
    /// Mounted below another one on the host, and so perhaps not passed on.
    pub(super) below: bool,
}

impl PlannedMounts {
    /// Looks the plan's sources up on the host. One that cannot be found is for whoever mounts it to refuse.
    pub(super) fn of(plan: &Plan) -> Self {
        let mountinfo = super::read_lossy(Path::new("/proc/self/mountinfo"));
        let host = MountLine::all(&mountinfo);
        let mut binds = Vec::new();
        for step in &plan.stage {
            match step {
                Step::Bind { path, source, options } => {
                    if let Ok(inside) = path.strip_prefix(ROOTFS) {
                        let place = Path::new("/").join(inside);
                        binds.extend(of_source(&host, source, &place, options.read_only));
                    }
                }
                Step::Entries { source, except, .. } => {
                    for (name, entry) in entries(source, except) {
                        binds.extend(of_source(&host, &entry, &Path::new("/").join(name), true));
                    }
                }
                _ => {}
            }
        }
        let mounts = plan.config["mounts"].as_array().map_or(&[][..], Vec::as_slice);
        for mount in mounts.iter().filter(|mount| mount["type"] == "bind") {
            let place = Path::new(text(&mount["destination"]));
            if let Some(source) = staged(plan, text(&mount["source"])) {
                binds.extend(of_source(&host, source, place, has(mount, "ro")));
            }
        }
        let own = mounts.iter().filter(|mount| mount["type"] != "bind");
        let own =
            std::iter::once(root(&plan.config)).chain(own.map(|mount| own_mount(mount, plan.privilege)));
        Self { own: own.collect(), binds }
    }
}

/// The folders and files of a root folder, with their names.
fn entries(folder: &Path, except: &[String]) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir() || kind.is_file()))
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .filter(|(name, _)| !except.contains(name))
        .collect()
}

/// What of the host is at this place of the stage.
fn staged<'a>(plan: &'a Plan, place: &str) -> Option<&'a Path> {
    let wanted = Path::new(place).strip_prefix(STAGE).ok()?;
    plan.stage.iter().find_map(|step| match step {
        Step::Bind { path, source, .. } if path == wanted => Some(source.as_path()),
        _ => None,
    })
}

/// The mount of a source of the host's, and those that are mounted below it there.
fn of_source(host: &[MountLine<'_>], source: &Path, place: &Path, read_only: bool) -> Vec<PlannedBind> {
    let found = || {
        let real = fs::canonicalize(source).ok()?;
        let id = statx(CWD, &real, AtFlags::empty(), StatxFlags::MNT_ID).ok()?.stx_mnt_id;
        let holder = host.iter().find(|line| line.id == id)?;
        let inside = real.strip_prefix(&holder.place).ok()?.to_owned();
        Some((real, holder, inside))
    };
    let Some((real, holder, inside)) = found() else { return Vec::new() };
    let bind = |line: &MountLine<'_>, place: PathBuf, root: PathBuf, below| PlannedBind {
        place: plain(&place),
        device: line.device.to_owned(),
        root: plain(&root),
        read_only,
        below,
    };
    let mut binds = vec![bind(holder, place.to_owned(), Path::new(&holder.root).join(inside), false)];
    for line in host {
        if let Ok(inside) = Path::new(&line.place).strip_prefix(&real)
            && inside != Path::new("")
        {
            binds.push(bind(line, place.join(inside), PathBuf::from(&line.root), true));
        }
    }
    binds
}

/// Without the slash at the end that joining nothing leaves.
fn plain(path: &Path) -> String {
    path.components().collect::<PathBuf>().to_string_lossy().into_owned()
}

fn root(config: &Value) -> OwnMount {
    let access = if config["root"]["readonly"] == true { "ro" } else { "rw" };
    let folder = text(&config["root"]["path"]);
    OwnMount { place: "/".into(), is: format!("tmpfs {access},nosuid,nodev,relatime of /{folder}") }
}

fn own_mount(mount: &Value, privilege: Privilege) -> OwnMount {
    let place = text(&mount["destination"]).to_owned();
    let kind = text(&mount["type"]);
    let locked = READ_ONLY_PATHS.contains(&place.as_str());
    let mut flags = vec![if locked || has(mount, "ro") { "ro" } else { "rw" }];
    flags.extend(["nosuid", "nodev", "noexec"].into_iter().filter(|flag| locked || has(mount, flag)));
    flags.extend((!has(mount, "strictatime")).then_some("relatime"));
    let data = keys(kind, matches!(privilege, Privilege::Rootless { .. })).iter().map(|key| {
        let asked = options(mount).find_map(|option| option.strip_prefix(key)?.strip_prefix('='));
        (*key, planned_value(key, asked, privilege))
    });
    OwnMount { place, is: described(kind, &flags.join(","), data) }
}

fn planned_value(key: &str, asked: Option<&str>, privilege: Privilege) -> String {
    let number = asked.and_then(|text| text.parse::<u64>().ok());
    let id = || u32::try_from(number.unwrap_or(0)).unwrap_or(u32::MAX);
    match (key, number) {
        ("size", Some(bytes)) => bytes.next_multiple_of(rustix::param::page_size() as u64).to_string(),
        ("mode" | "ptmxmode", _) => asked.map_or("0", |mode| mode.trim_start_matches('0')).to_owned(),
        ("uid" | "gid", _) => privilege.host_uid(id()).to_string(),
        _ => asked.unwrap_or("missing").to_owned(),
    }
}

/// The mount as the host sees it, in the words of [`OwnMount::is`].
pub(super) fn describe(line: &MountLine<'_>, rootless: bool) -> String {
    if line.place == "/" {
        return format!("{} {} of {}", line.kind, line.options, line.root);
    }
    let data = keys(line.kind, rootless).iter().map(|key| {
        let shown =
            line.super_options.split(',').find_map(|option| option.strip_prefix(key)?.strip_prefix('='));
        (*key, shown.map_or_else(|| unsaid(key), |shown| bytes(key, shown)))
    });
    described(line.kind, line.options, data)
}

fn described(kind: &str, flags: &str, data: impl Iterator<Item = (&'static str, String)>) -> String {
    let data: String = data.map(|(key, value)| format!(" {key}={value}")).collect();
    format!("{kind} {flags}{data}")
}

/// The options of a file system that are compared. Without root there is one id only.
fn keys(kind: &str, rootless: bool) -> &'static [&'static str] {
    match kind {
        "tmpfs" if rootless => &["size", "nr_inodes", "mode"],
        "tmpfs" => &["size", "nr_inodes", "mode", "uid", "gid"],
        "devpts" => &["mode", "ptmxmode"],
        _ => &[],
    }
}

/// `shmem_show_options` of the kernel leaves out what is as it would be without the option.
fn unsaid(key: &str) -> String {
    let memory = rustix::system::sysinfo();
    let half = u64::from(memory.mem_unit) * memory.totalram / 2;
    match key {
        "size" => half.to_string(),
        "nr_inodes" => (half / rustix::param::page_size() as u64).to_string(),
        "mode" => "1777".to_owned(),
        _ => "0".to_owned(),
    }
}

/// Sizes are shown in KiB, and modes with a zero in front of small ones.
fn bytes(key: &str, shown: &str) -> String {
    match shown.strip_suffix('k').and_then(|kib| kib.parse::<u64>().ok()) {
        Some(kib) if key == "size" => (kib << 10).to_string(),
        _ if key.ends_with("mode") => shown.trim_start_matches('0').to_owned(),
        _ => shown.to_owned(),
    }
}

fn options(mount: &Value) -> impl Iterator<Item = &str> {
    mount["options"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn has(mount: &Value, option: &str) -> bool {
    options(mount).any(|has| has == option)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
