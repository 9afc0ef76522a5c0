//! The command line: what is asked for, and what the tester planted.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use crate::attempts;
use crate::exhaust::Options;
use crate::situation::Situation;

/// How to call the probe.
pub const USAGE: &str = "\
usage: attack-probe --list
       attack-probe ID… [OPTION]…
       attack-probe --all [OPTION]…
       attack-probe exhaust NAME [PATH] [--mib N] [--bytes N] [--count N] [--seconds N]
options: --canary STRING, --host-path PATH, --host-port PORT, --host-abstract NAME,
         --host-pid PID (each may be repeated), --host-hostname NAME";

/// What is asked for.
#[derive(Debug)]
pub enum Request {
    /// Say which attempts there are.
    List,
    /// Run these attempts.
    Attempts { ids: Vec<String>, situation: Situation },
    /// Use up something.
    Exhaust { name: String, options: Options },
}

/// Reads the command line into a request. The situation gets what the options say.
pub fn parse(arguments: impl Iterator<Item = OsString>, mut situation: Situation) -> Result<Request, String> {
    let mut arguments = arguments.peekable();
    if arguments.next_if(|first| first == "exhaust").is_some() {
        return parse_exhaust(arguments);
    }
    let mut ids = Vec::new();
    let mut is_list = false;
    while let Some(argument) = arguments.next() {
        let argument = text(argument)?;
        match argument.as_str() {
            "--list" => is_list = true,
            "--all" => ids.extend(attempts::all().map(|(_, attempt)| attempt.id.to_owned())),
            option if option.starts_with("--") => take_option(option, arguments.next(), &mut situation)?,
            id => ids.push(id.to_owned()),
        }
    }
    match (is_list, ids.is_empty()) {
        (true, true) => Ok(Request::List),
        (false, false) => Ok(Request::Attempts { ids, situation }),
        (true, false) => Err("--list stands alone".into()),
        (false, true) => Err("nothing to attempt".into()),
    }
}

fn take_option(option: &str, value: Option<OsString>, situation: &mut Situation) -> Result<(), String> {
    let value = value.filter(|value| !value.is_empty()).ok_or(format!("{option} needs a value"))?;
    match option {
        "--canary" => situation.canaries.push(value.into_encoded_bytes()),
        "--host-path" => situation.host_paths.push(absolute(value)?),
        "--host-port" => situation.host_ports.push(number(option, value)?),
        "--host-abstract" => situation.host_abstract.push(value),
        "--host-pid" => situation.host_pids.push(number(option, value)?),
        "--host-hostname" => situation.host_hostname = Some(value),
        _ => return Err(format!("there is no option {option}")),
    }
    Ok(())
}

fn parse_exhaust(mut arguments: impl Iterator<Item = OsString>) -> Result<Request, String> {
    let name = text(arguments.next().ok_or("exhaust needs a name")?)?;
    let mut options = Options::default();
    while let Some(argument) = arguments.next() {
        let argument = text(argument)?;
        let slot = match argument.as_str() {
            "--mib" => &mut options.mib,
            "--bytes" => &mut options.bytes,
            "--count" => &mut options.count,
            "--seconds" => &mut options.seconds,
            option if option.starts_with("--") => return Err(format!("there is no option {option}")),
            path => {
                options.path = Some(path.into());
                continue;
            }
        };
        let value = arguments.next().ok_or(format!("{argument} needs a value"))?;
        *slot = Some(number(&argument, value)?);
    }
    Ok(Request::Exhaust { name, options })
}

fn text(argument: OsString) -> Result<String, String> {
    argument.into_string().map_err(|argument| format!("not UTF-8: {}", argument.display()))
}

fn number<N: FromStr>(option: &str, value: OsString) -> Result<N, String> {
    let value = text(value)?;
    value.parse().map_err(|_| format!("{option} needs a number, not `{value}`"))
}

fn absolute(value: OsString) -> Result<PathBuf, String> {
    let path = PathBuf::from(value);
    if path.is_absolute() { Ok(path) } else { Err(format!("not an absolute path: {}", path.display())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(line: &str) -> Result<Request, String> {
        parse(line.split_whitespace().map(OsString::from), Situation::default())
    }

    #[test]
    fn options_may_stand_anywhere_and_be_repeated() {
        let request = parse_words("--canary a bpf --canary b --host-port 80 keyctl").expect("parses");
        let Request::Attempts { ids, situation } = request else { panic!("{request:?}") };
        assert_eq!(ids, ["bpf", "keyctl"]);
        assert_eq!(situation.canaries, [b"a", b"b"]);
        assert_eq!(situation.host_ports, [80]);
    }

    #[test]
    fn all_is_every_attempt_once() {
        let Ok(Request::Attempts { ids, .. }) = parse_words("--all") else { panic!("does not parse") };
        assert_eq!(ids.len(), attempts::all().count());
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for line in ["", "--list bpf", "bpf --canary", "bpf --nothing x", "bpf --host-port x", "exhaust"] {
            assert!(parse_words(line).is_err(), "{line}");
        }
        assert!(parse_words("bpf --host-path relative").is_err());
        assert!(parse_words("exhaust fork-bomb --count x").is_err());
    }
}
