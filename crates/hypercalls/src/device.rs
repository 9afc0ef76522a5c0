//! The kernel's queue of calls.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};

use crate::flatbuffer;
use crate::ioctl;

/// No reply of the host's is longer, bytes.
const REPLY_MAX: usize = 72 << 10;

/// `/dev/hlcall`. Reading again tells the kernel that the call before is done.
pub struct Device {
    file: File,
    call_bytes_max: usize,
}

/// What the host asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Call {
    /// The name of a function.
    pub function: String,
    /// What it is given.
    pub text: String,
}

impl Call {
    fn parse(call: &[u8]) -> Option<Self> {
        let parameter = |index| flatbuffer::text(call, index).map(ToOwned::to_owned);
        Some(Self { function: parameter(0)?, text: parameter(1)? })
    }
}

impl Device {
    /// Opens it. There is one in every machine.
    pub fn open() -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open("/dev/hlcall")?;
        let call_bytes_max = ioctl::bytes_max(&file)?;
        Ok(Self { file, call_bytes_max })
    }

    /// Where calls are read to: to be kept, since what is touched of a new one is copied once more in each restored machine.
    #[must_use]
    pub fn buffer(&self) -> Vec<u8> {
        vec![0; self.call_bytes_max]
    }

    /// Waits for the next call; `None` if it was none.
    pub fn next(&self, call: &mut [u8]) -> io::Result<Option<Call>> {
        match (&self.file).read(call) {
            Ok(count) => Ok(call.get(..count).and_then(Call::parse)),
            Err(why) if why.kind() == ErrorKind::Interrupted => Ok(None),
            Err(why) => Err(why),
        }
    }

    /// Says what a call has come to.
    pub fn answer(&self, result: &str) -> io::Result<()> {
        let mut answer = 0_i32.to_ne_bytes().to_vec();
        answer.extend_from_slice(result.as_bytes());
        (&self.file).write_all(&answer)
    }

    /// Calls a function of the host; returns what it returned.
    pub fn call(&self, name: &str, argument: &str) -> io::Result<Vec<u8>> {
        let mut reply = vec![0; REPLY_MAX];
        let count = ioctl::call(&self.file, name, argument, &mut reply)?;
        reply.truncate(count);
        match reply.split_first() {
            Some((0, result)) => Ok(result.to_vec()),
            Some((_, why)) => Err(io::Error::other(String::from_utf8_lossy(why).into_owned())),
            None => Err(ErrorKind::UnexpectedEof.into()),
        }
    }
}
