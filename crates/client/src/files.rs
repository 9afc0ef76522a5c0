//! Typed calls about the files in a sandbox. Paths are bytes, and absolute.

use agentkernel_api as api;
use hyper::Method;

use crate::body::{Download, Upload};
use crate::exchange::{Request, ask_soon};
use crate::path::RequestPath;
use crate::{Client, Result};

const BYTES: &str = "application/octet-stream";
const TAR: &str = "application/x-tar";

fn place(id: &str, route: &str, path: &[u8]) -> RequestPath {
    RequestPath::sandbox(id).then(route).query("path", path)
}

impl Client {
    /// The content of a file.
    pub async fn read_file(&self, id: &str, path: &[u8]) -> Result<Download> {
        Ok(Download::new(ask_soon(&self.address, Request::get(place(id, "/files", path))).await?))
    }

    /// Writes a file as a whole, or leaves it as it was.
    #[must_use]
    pub fn write_file(&self, id: &str, path: &[u8], mode: Option<u32>) -> Upload {
        let place = place(id, "/files", path);
        let place = match mode {
            Some(mode) => place.query("mode", format!("{mode:o}")),
            None => place,
        };
        Upload::start(self.address.clone(), Request::new(Method::PUT, place), BYTES)
    }

    /// Facts of one file; of a link's target, if it is to be followed.
    pub async fn stat(&self, id: &str, path: &[u8], follow: bool) -> Result<api::FileInfo> {
        let place = place(id, "/files/stat", path);
        let place = if follow { place.query("follow", "true") } else { place };
        self.json(Request::get(place)).await
    }

    /// Entries of a folder, sorted by name.
    pub async fn list_files(&self, id: &str, path: &[u8]) -> Result<Vec<api::FileInfo>> {
        self.json(Request::get(place(id, "/files/list", path))).await
    }

    /// Removes a file, a link, or a folder (with its content, if `recursive`).
    pub async fn remove_file(&self, id: &str, path: &[u8], recursive: bool) -> Result<()> {
        let place = place(id, "/files", path);
        let place = if recursive { place.query("recursive", "true") } else { place };
        self.done(Request::delete(place)).await
    }

    /// Makes a folder.
    pub async fn make_dir(&self, id: &str, request: &api::MakeDirRequest) -> Result<()> {
        self.done(Request::post(RequestPath::sandbox(id).then("/files/mkdir")).json(request)?).await
    }

    /// Renames a file or folder.
    pub async fn rename(&self, id: &str, request: &api::RenameRequest) -> Result<()> {
        self.done(Request::post(RequestPath::sandbox(id).then("/files/rename")).json(request)?).await
    }

    /// A file or folder as a tar archive, whose names begin with its own.
    pub async fn pack(&self, id: &str, path: &[u8]) -> Result<Download> {
        Ok(Download::new(ask_soon(&self.address, Request::get(place(id, "/archive", path))).await?))
    }

    /// A tar archive into a folder, which is made if it is not there.
    #[must_use]
    pub fn unpack(&self, id: &str, path: &[u8]) -> Upload {
        Upload::start(self.address.clone(), Request::new(Method::PUT, place(id, "/archive", path)), TAR)
    }
}
