//! Whether Apple's container works here, and if not, why and what helps.

use agentkernel_core::{Availability, BackendKind};

use super::argv;
use super::backend::AppleBackend;
use super::cli::{ANSWER_DEADLINE, Cli, START_SERVICES, Trouble};
use super::version::{NEEDED, Version, missing};
use crate::address::HostSystem;
use crate::trouble::Unusable;

/// What macOS calls itself by uname(2).
const MACOS: &str = "Darwin";

/// The kernel of macOS 26, the first on which the program is supported: <https://github.com/apple/container#requirements>.
const DARWIN_MIN: u32 = 25;

/// Why this system cannot have the program, if it cannot.
pub(super) fn other_system(system: &HostSystem) -> Option<Unusable> {
    let HostSystem { name, release } = system;
    if name != MACOS {
        let this = if name.is_empty() { "another system" } else { name };
        return Some(Unusable {
            needs: format!("macOS 26 or newer, and this is {this}"),
            hint: "use --backend oci here".into(),
        });
    }
    let major = release.split('.').next().and_then(|word| word.parse::<u32>().ok());
    (major < Some(DARWIN_MIN)).then(|| Unusable {
        needs: format!("macOS 26 or newer (Darwin {DARWIN_MIN}), and this is Darwin {release}"),
        hint: "upgrade macOS".into(),
    })
}

/// Why this version will not do, if it will not.
pub(super) fn too_old(version: Version) -> Option<Unusable> {
    let youngest = NEEDED[NEEDED.len() - 1].since;
    missing(version).map(|feature| Unusable {
        needs: format!(
            "Apple's container {youngest} or newer, and this is {version}, without {} ({})",
            feature.words, feature.field
        ),
        hint: "upgrade it: https://github.com/apple/container/releases".into(),
    })
}

impl AppleBackend {
    /// The program, once it is clear that it can be used.
    pub(super) async fn cli(&self) -> Result<(Cli, Version), Unusable> {
        other_system(&self.settings.system).map_or(Ok(()), Err)?;
        let program = self.settings.program("container").ok_or_else(|| Unusable {
            needs: "Apple's container, which is not installed".into(),
            hint: "install it: https://github.com/apple/container/releases".into(),
        })?;
        let cli = Cli::new(program, self.settings.common_variables(), self.patience);
        let version = self.version.get_or_try_init(|| ask_version(&cli)).await?;
        too_old(*version).map_or(Ok(()), Err)?;
        Ok((cli, *version))
    }

    /// Asks everything but a sandbox: that needs an image, and which there is, is the user's.
    pub(super) async fn try_out(&self) -> Result<Vec<(String, String)>, Unusable> {
        let (cli, version) = self.cli().await?;
        services(&cli).await?;
        let facts = [
            ("program", format!("{version} at {}", cli.program().display())),
            ("system", format!("Darwin {}", self.settings.system.release)),
            ("images", "those of 'container image list'; not the programs of this host".into()),
        ];
        Ok(facts.map(|(name, value)| (name.to_owned(), value)).into())
    }
}

async fn ask_version(cli: &Cli) -> Result<Version, Unusable> {
    let said = cli.ask(argv::version(), ANSWER_DEADLINE).await.map_err(|why| Unusable {
        needs: format!("Apple's container, and {} does not tell its version: {why}", cli.program().display()),
        hint: "run container --version".into(),
    })?;
    let text = String::from_utf8_lossy(&said);
    Version::parse(&text).ok_or_else(|| Unusable {
        needs: format!(
            "Apple's container, and {} says that it is '{}'",
            cli.program().display(),
            text.trim().chars().filter(|letter| !letter.is_control()).take(100).collect::<String>()
        ),
        hint: "put Apple's first in PATH: https://github.com/apple/container/releases".into(),
    })
}

/// Its services must run: what they say they are, it prints whether they do or not.
async fn services(cli: &Cli) -> Result<(), Unusable> {
    let not_running = |why: String| Unusable {
        needs: format!("the services of Apple's container, and {why}"),
        hint: START_SERVICES.into(),
    };
    let status = cli.ask_json(argv::status(), ANSWER_DEADLINE).await.map_err(|why| match why {
        Trouble::Refused(_) => not_running("they do not run".into()),
        Trouble::NoAnswer(why) => not_running(why),
    })?;
    if status["status"] == "running" {
        return Ok(());
    }
    let said = status["status"].as_str().unwrap_or("unknown");
    Err(not_running(format!("their status is '{}'", said.escape_debug())))
}

impl From<Unusable> for agentkernel_core::Error {
    fn from(unusable: Unusable) -> Self {
        unusable.error(BackendKind::Apple)
    }
}

/// The answer of a probe.
pub(super) fn availability(tried: Result<Vec<(String, String)>, Unusable>) -> Availability {
    match tried {
        Ok(facts) => Availability::Available { facts },
        Err(unusable) => unusable.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_system_and_an_old_macos_are_told_apart() {
        let told = |name: &str, release: &str| {
            let system = HostSystem { name: name.into(), release: release.into() };
            other_system(&system).map(|unusable| (unusable.needs, unusable.hint))
        };
        let both = |needs: &str, hint: &str| Some((needs.to_owned(), hint.to_owned()));
        assert_eq!(
            told("Linux", "6.18.0"),
            both("macOS 26 or newer, and this is Linux", "use --backend oci here")
        );
        assert_eq!(
            told("Darwin", "24.6.0"),
            both("macOS 26 or newer (Darwin 25), and this is Darwin 24.6.0", "upgrade macOS")
        );
        assert!(told("Darwin", "").is_some() && told("Darwin", "x").is_some() && told("", "25").is_some());
        assert_eq!(told("Darwin", "25.0.0"), None);
        assert_eq!(told("Darwin", "100.1"), None);
    }

    #[test]
    fn an_old_version_is_told_what_it_lacks() {
        assert_eq!(too_old(Version::new(0, 12, 0)), None);
        let told = too_old(Version::new(0, 11, 0)).expect("too old");
        assert_eq!(
            told.needs,
            "Apple's container 0.12.0 or newer, and this is 0.11.0, without --cap-drop (no capabilities)"
        );
    }
}
