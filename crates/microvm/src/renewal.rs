//! What a machine has of its own: told by us over its stream before the agent is greeted, and shown by it to be so.
//!
//! The other side is `machine/renewal.rs` of the guest agent. A machine that does not show it is not handed out.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agentkernel_core::{DuplexStream, Evidence, SandboxSpec};
use rustix::rand::{GetRandomFlags, getrandom};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::kernel::hex;
use crate::layout::own_files;

/// Bytes of randomness for the guest's kernel: as many as its pool's hash has.
const ENTROPY: usize = 32;

/// How far the guest's clock may be from ours once it was set. An emulator on a busy host answers late.
const CLOCK_ERROR_MAX: Duration = Duration::from_secs(30);

/// Longest line that a guest says, bytes: its evidence has about a hundred.
const LINE_MAX: usize = 256;

/// Waits until everything is there that all machines of its description have in common.
pub(crate) async fn wait(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let said = line(stream).await?;
    if said == "waiting" { Ok(()) } else { Err(wrong(&said)) }
}

/// Makes the machine itself, and no other.
pub(crate) async fn renew(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    spec: &SandboxSpec,
) -> io::Result<Evidence> {
    let told = Renewal::of_another(spec)?;
    stream.write_all(format!("{}go\n", told.lines).as_bytes()).await?;
    told.check(&line(stream).await?)
}

/// The same for one that continues from where it was used: its agent is the one that was greeted then.
pub(crate) async fn renew_in_use(stream: &mut dyn DuplexStream, spec: &SandboxSpec) -> io::Result<Evidence> {
    let told = Renewal::of_another(spec)?;
    let said = agentkernel_link::renew(stream, &told.lines).await?;
    told.check(&said)
}

/// What a machine is told.
pub(crate) struct Renewal {
    /// The steps.
    pub(crate) lines: String,
    /// What it is to call its boot, if it is another than before.
    boot_id: Option<String>,
}

impl Renewal {
    /// What makes it another machine than every other one of its snapshot.
    fn of_another(spec: &SandboxSpec) -> io::Result<Self> {
        let Self { mut lines, .. } = Self::of_the_same()?;
        let (machine_id, boot_id) = (hex(&random::<16>()?), uuid(random()?));
        for (path, content) in own_files(spec, &machine_id, &boot_id) {
            lines += &format!("fill\t{path}\t{}\n", hex(&content));
        }
        lines += &format!("hostname\t{}\n", spec.hostname());
        Ok(Self { lines, boot_id: Some(boot_id) })
    }

    /// What it is told where it stays who it is, and others go on from its past.
    pub(crate) fn of_the_same() -> io::Result<Self> {
        let entropy = hex(&random::<ENTROPY>()?);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
        let lines = format!("entropy\t{entropy}\nclock\t{}\t{}\n", now.as_secs(), now.subsec_nanos());
        Ok(Self { lines, boot_id: None })
    }

    /// Whether what it shows is that of a machine that was told this, now.
    pub(crate) fn check(&self, said: &str) -> io::Result<Evidence> {
        let evidence = check(said.trim_end(), SystemTime::now())?;
        match &self.boot_id {
            Some(told) if *told != evidence.boot_id => Err(wrong(said)),
            _ => Ok(evidence),
        }
    }
}

/// Random bytes as an identifier of version 4 (RFC 9562), as the kernel's is.
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = hex(&bytes);
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

fn random<const LENGTH: usize>() -> io::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(bytes)
}

/// Whether what a machine shows is that of one that was renewed at this moment.
fn check(said: &str, now: SystemTime) -> io::Result<Evidence> {
    let words: Vec<&str> = said.split('\t').collect();
    let ["renewed", boot_id, sample, clock] = words[..] else { return Err(wrong(said)) };
    let is_hex =
        |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex(&boot_id.replace('-', ""), 32) || !is_hex(sample, 32) {
        return Err(wrong(said));
    }
    let clock: f64 = clock.parse().map_err(|_| wrong(said))?;
    let ours = now.duration_since(UNIX_EPOCH).map_err(io::Error::other)?.as_secs_f64();
    let error = (clock - ours).abs();
    if error > CLOCK_ERROR_MAX.as_secs_f64() {
        return Err(io::Error::other(format!("its clock is {error:.0} s off after it was set")));
    }
    let clock_error = Duration::from_secs_f64(error);
    Ok(Evidence { boot_id: boot_id.to_owned(), random_sample: sample.to_owned(), clock_error })
}

/// One line, byte by byte: what follows is the agent's.
async fn line(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut line = Vec::new();
    loop {
        match stream.read_u8().await? {
            b'\n' => return String::from_utf8(line).map_err(io::Error::other),
            byte => line.push(byte),
        }
        if line.len() > LINE_MAX {
            return Err(wrong(&String::from_utf8_lossy(&line)));
        }
    }
}

fn wrong(said: &str) -> io::Error {
    let said: String = said.chars().filter(|letter| !letter.is_control()).take(80).collect();
    io::Error::new(io::ErrorKind::InvalidData, format!("it says what no machine of ours says: {said:?}"))
}

#[cfg(test)]
mod tests {
    use agentkernel_core::{Profile, SandboxName};

    use super::*;

    const ID: &str = "6f1dd4b6-7c3b-4ce6-9a11-000000000001";
    const SAMPLE: &str = "00112233445566778899aabbccddeeff";

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn evidence_is_whole_and_of_this_moment_or_it_is_none() {
        let said = |clock: &str| format!("renewed\t{ID}\t{SAMPLE}\t{clock}");
        check(&said("1000.5"), at(1001)).expect("it is renewed");
        let late = check(&said("1000.5"), at(1100)).expect_err("of another time").to_string();
        assert!(late.contains("99 s off") || late.contains("100 s off"), "{late}");
        for wrong in ["", "renewed", "waiting", &format!("renewed\t{ID}\t{SAMPLE}"), &said("noon")] {
            assert!(check(wrong, at(1000)).is_err(), "{wrong}");
        }
        assert!(check(&format!("renewed\t{ID}\tzz\t1000"), at(1000)).is_err());
    }

    #[test]
    fn a_machine_that_calls_its_boot_something_else_is_not_the_one_that_was_told() {
        let spec = SandboxSpec::builder(SandboxName::from_random(7), Profile::Restrictive).build();
        let told = Renewal::of_another(&spec.expect("sound")).expect("told");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let own = told.boot_id.clone().expect("another boot");
        told.check(&format!("renewed\t{own}\t{SAMPLE}\t{now}.0\n")).expect("itself");
        assert!(told.check(&format!("renewed\t{ID}\t{SAMPLE}\t{now}.0\n")).is_err());
        assert_eq!((own.len(), &own[14..15]), (36, "4"));
    }

    #[tokio::test]
    async fn a_machine_is_told_what_it_is_and_what_follows_its_answer_is_left() {
        let (mut ours, mut theirs) = tokio::io::duplex(4096);
        let guest = async {
            theirs.write_all(b"waiting\n").await.expect("written");
            let mut told = vec![0; 4096];
            let count = theirs.read(&mut told).await.expect("read");
            let told = String::from_utf8_lossy(&told[..count]).into_owned();
            let now = told.lines().find_map(|line| line.strip_prefix("clock\t")).expect("the time");
            let clock = now.replace('\t', ".");
            let digits =
                told.lines().find_map(|line| line.strip_prefix("fill\t/layer/.agentkernel/boot-id\t"));
            let id = digits.expect("its boot's name").as_bytes().chunks(2).map(|pair| {
                let pair = std::str::from_utf8(pair).expect("digits");
                char::from(u8::from_str_radix(pair, 16).expect("digits"))
            });
            let id: String = id.collect();
            theirs
                .write_all(format!("renewed\t{}\t{SAMPLE}\t{clock}\nx", id.trim()).as_bytes())
                .await
                .expect("written");
            told
        };
        let host = async {
            wait(&mut ours).await.expect("it waits");
            let spec = SandboxSpec::builder(SandboxName::from_random(7), Profile::Restrictive);
            renew(&mut ours, &spec.build().expect("sound")).await.expect("renewed");
            assert_eq!(ours.read_u8().await.expect("left"), b'x');
        };
        let (told, ()) = tokio::join!(guest, host);
        let words: Vec<_> = told.lines().filter_map(|line| line.split('\t').next()).collect();
        assert_eq!(words, ["entropy", "clock", "fill", "fill", "fill", "fill", "hostname", "go"]);
    }
}
