//! Docker's contexts: named addresses in the user's own configuration.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::trouble::Unusable;

/// The context that has no file.
const DEFAULT: &str = "default";

/// The context in force, and its address; none for the default one.
pub(crate) fn address(folder: &Path, named: Option<&str>) -> Result<Option<(String, String)>, Unusable> {
    let current = match named {
        Some(name) => Some(name.to_owned()),
        None => read(&folder.join("config.json"))?
            .and_then(|config| config["currentContext"].as_str().map(str::to_owned)),
    };
    let Some(name) = current.filter(|name| !name.is_empty() && name != DEFAULT) else { return Ok(None) };
    // The folder is called by the name's digest, so that no name leads elsewhere.
    let digest: String = Sha256::digest(&name).iter().map(|byte| format!("{byte:02x}")).collect();
    let file = folder.join("contexts/meta").join(digest).join("meta.json");
    let shown: String = name.chars().filter(|letter| !letter.is_control()).take(100).collect();
    let missing = || Unusable {
        needs: format!("the docker context '{shown}', and {} does not name its address", file.display()),
        hint: "docker context ls shows those there are; docker context use default goes back".into(),
    };
    let meta = read(&file)?.ok_or_else(missing)?;
    let host = meta["Endpoints"]["docker"]["Host"].as_str().ok_or_else(missing)?;
    Ok(Some((shown, host.to_owned())))
}

/// A file of JSON, if there is one.
fn read(file: &Path) -> Result<Option<Value>, Unusable> {
    let unreadable = |why: String| Unusable {
        needs: format!("docker's configuration, and {} cannot be read: {why}", file.display()),
        hint: "mend the file, or set DOCKER_HOST=unix:///PATH".into(),
    };
    match fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|why| unreadable(why.to_string())),
        Err(why) if matches!(why.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(why) => Err(unreadable(why.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_in_force_is_the_named_one_else_the_current_one() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(address(folder.path(), None), Ok(None), "no configuration at all");
        fs::write(folder.path().join("config.json"), r#"{"currentContext":"desktop"}"#).expect("written");
        let refused = address(folder.path(), None).expect_err("it has no file");
        assert!(refused.needs.contains("'desktop'"), "{refused:?}");
        // printf desktop | sha256sum
        let digest = "68693d02ab4fbb2331b8cc39915322e48e61f06d4d1b31e7d19913202857bc8a";
        let meta = folder.path().join("contexts/meta").join(digest);
        fs::create_dir_all(&meta).expect("made");
        let text = r#"{"Name":"desktop","Endpoints":{"docker":{"Host":"unix:///home/u/d.sock"}}}"#;
        fs::write(meta.join("meta.json"), text).expect("written");
        let found = ("desktop".to_owned(), "unix:///home/u/d.sock".to_owned());
        assert_eq!(address(folder.path(), None), Ok(Some(found)));
        assert_eq!(address(folder.path(), Some("default")), Ok(None));
        assert!(address(folder.path(), Some("../../etc")).is_err());
        fs::write(folder.path().join("config.json"), "{").expect("written");
        assert!(address(folder.path(), None).expect_err("garbled").needs.contains("config.json"));
    }
}
