//! One configuration file: read with suspicion, checked key by key.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use agentkernel_core::{Image, Limit, Result, nearest, parse_duration};
use toml::{Table, Value};

use super::{Layer, wrong};

/// Longest file. Ours have ten keys.
const LENGTH_MAX: u64 = 64 * 1024;

/// Every key of the table `run`.
pub(super) const KEYS: &[&str] =
    &["backend", "image", "rootfs", "profile", "cpus", "memory", "pids", "disk", "output_limit", "timeout"];

/// Keys that people look for, and that are for the command line alone.
const FLAGS_ONLY: &[(&str, &str)] = &[
    ("mounts", "-v"),
    ("volumes", "-v"),
    ("user", "--user"),
    ("env", "-e"),
    ("name", "--name"),
    ("command", "-- CMD"),
];

/// A file that was read.
pub(super) struct File {
    pub text: String,
    /// Device and inode.
    pub identity: (u64, u64),
}

/// Reads a file; `None` if there is none. Whatever lies in a hostile checkout (a pipe, a device, a file
/// of a terabyte), it neither blocks nor fills the memory.
pub(super) fn read(path: &Path) -> Result<Option<File>> {
    let failed = |why: std::io::Error| wrong(path.display(), why);
    let mut options = OpenOptions::new();
    let file = match options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path) {
        Ok(file) => file,
        Err(why) if is_absence(&why) => return Ok(None),
        Err(why) => return Err(failed(why)),
    };
    let facts = file.metadata().map_err(failed)?;
    if !facts.is_file() {
        return Err(wrong(path.display(), "it is not a regular file"));
    }
    let mut text = String::new();
    file.take(LENGTH_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > LENGTH_MAX {
        return Err(wrong(path.display(), format!("it is longer than {LENGTH_MAX} bytes")));
    }
    Ok(Some(File { text, identity: (facts.dev(), facts.ino()) }))
}

fn is_absence(why: &std::io::Error) -> bool {
    matches!(why.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

/// What a file says. Every key must be known and every value valid.
pub(super) fn parse(path: &Path, text: &str) -> Result<Layer> {
    let table: Table = text.parse().map_err(|why| malformed(path, text, &why))?;
    let mut layer = Layer::default();
    for (name, value) in &table {
        match (name.as_str(), value) {
            ("run", Value::Table(run)) => parse_run(path, run, &mut layer)?,
            ("run", _) => return Err(wrong(place(path, "run"), "it is not a table; write [run]")),
            _ => return Err(unknown(path, "", name, &["run"])),
        }
    }
    Ok(layer)
}

/// The parser's words and the line. Not the line's text, which may be anything.
fn malformed(path: &Path, text: &str, why: &toml::de::Error) -> agentkernel_core::Error {
    let line = why.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let place = match line {
        Some(line) => format!("{}:{line}", path.display()),
        None => path.display().to_string(),
    };
    wrong(place, why.message().replace(char::is_control, " "))
}

fn parse_run(path: &Path, run: &Table, layer: &mut Layer) -> Result<()> {
    if run.contains_key("image") && run.contains_key("rootfs") {
        return Err(wrong(place(path, "run.rootfs"), "image is given as well; there can be only one"));
    }
    for (key, value) in run {
        if !KEYS.contains(&key.as_str()) {
            return Err(unknown(path, "run.", key, KEYS));
        }
        let said = text_of(value).and_then(|text| set(layer, key, &text));
        said.map_err(|why| wrong(place(path, &format!("run.{key}")), why))?;
    }
    Ok(())
}

fn place(path: &Path, key: &str) -> String {
    format!("{}: {key}", path.display())
}

fn unknown(path: &Path, table: &str, key: &str, known: &[&str]) -> agentkernel_core::Error {
    let shown: String = key.escape_debug().collect();
    if let Some((_, flag)) = FLAGS_ONLY.iter().find(|(name, _)| *name == key) {
        let why = "it is given on the command line only";
        return wrong(place(path, &format!("{table}{shown}")), why).hint(format!("use {flag}"));
    }
    let all = known.join(", ");
    let error = wrong(place(path, &format!("{table}{shown}")), format!("unknown key (known: {all})"));
    // A key of `run` outside of its table is the likeliest mistake.
    match nearest(key, known.iter().copied()) {
        Some(near) => error.hint(format!("did you mean '{table}{near}'?")),
        None => match nearest(key, KEYS.iter().copied()).filter(|_| table.is_empty()) {
            Some(near) => error.hint(format!("did you mean '{near}' in the table [run]?")),
            None => error,
        },
    }
}

fn text_of(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        other => Err(format!("it is a {}; write a string or a number", other.type_str())),
    }
}

fn set(layer: &mut Layer, key: &str, text: &str) -> Result<(), String> {
    match key {
        "backend" => layer.backend = Some(text.parse()?),
        "image" => layer.image = Some(parse_image(text)?),
        "rootfs" => layer.image = Some(parse_rootfs(text)?),
        "profile" => layer.profile = Some(text.parse()?),
        "cpus" => layer.cpus = Some(text.parse()?),
        "memory" => layer.memory = Some(text.parse()?),
        "pids" => layer.pids = Some(parse_pids(text)?),
        "disk" => layer.disk = Some(text.parse()?),
        "output_limit" => layer.output_limit = Some(text.parse()?),
        "timeout" => layer.timeout = Some(parse_duration(text)?),
        other => return Err(format!("unknown key {other}")),
    }
    Ok(())
}

/// Reads the name of an image.
pub fn parse_image(text: &str) -> Result<Image, String> {
    if text == "host" {
        return Ok(Image::Host);
    }
    if text.contains(['/', ':', '@']) {
        return text.parse().map(Image::Named);
    }
    let near = nearest(text, ["host"]).map(|near| format!("; did you mean '{near}'?"));
    let way_out =
        "one of: host, or an engine's image with its registry or tag; a folder is given with rootfs";
    Err(format!("unknown image '{}'{} ({way_out})", text.escape_debug(), near.unwrap_or_default()))
}

fn parse_rootfs(text: &str) -> Result<Image, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(Image::Rootfs(path)) } else { Err("it is not an absolute path".into()) }
}

/// Reads a number of processes, at least 1, or `unlimited`.
pub fn parse_pids(text: &str) -> Result<Limit<u32>, String> {
    match text.parse() {
        _ if text == "unlimited" => Ok(Limit::Unlimited),
        Ok(pids @ 1..) => Ok(Limit::At(pids)),
        _ => Err(format!(
            "'{}' is not a number of processes; write for example 256, or unlimited",
            text.escape_debug()
        )),
    }
}
