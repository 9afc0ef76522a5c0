//! `/proc/PID/mountinfo`, line by line: proc(5).

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountLine<'a> {
    /// Its number, which no other mount of the host has.
    pub id: u64,
    /// `MAJOR:MINOR` of its file system.
    pub device: &'a str,
    /// The folder or file of its file system that is mounted.
    pub root: String,
    /// Where it is mounted.
    pub place: String,
    /// Of this mount: `ro,nosuid,…`.
    pub options: &'a str,
    /// How it hears of mounts elsewhere, or tells of its own; empty if it does neither.
    pub propagation: String,
    /// The kind of file system.
    pub kind: &'a str,
    /// Of its file system: `rw,size=64k,…`.
    pub super_options: &'a str,
}

impl<'a> MountLine<'a> {
    /// `ID PARENT DEVICE ROOT PLACE OPTIONS [TAGS…] - KIND SOURCE SUPER_OPTIONS`.
    #[must_use]
    pub fn parse(line: &'a str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ');
        let mut after = after.split(' ');
        Some(Self {
            id: before.next()?.parse().ok()?,
            device: before.nth(1)?,
            root: unescaped(before.next()?),
            place: unescaped(before.next()?),
            options: before.next()?,
            propagation: before.collect::<Vec<_>>().join(" "),
            kind: after.next()?,
            super_options: after.nth(1)?,
        })
    }

    /// All mounts of a file.
    #[must_use]
    pub fn all(mountinfo: &'a str) -> Vec<Self> {
        mountinfo.lines().filter_map(Self::parse).collect()
    }

    /// Whether it was mounted with this option.
    #[must_use]
    pub fn has(&self, option: &str) -> bool {
        self.options.split(',').any(|has| has == option)
    }
}

/// The kernel writes a space, a tab, a newline, a backslash and a hash as a backslash and three octal digits.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                plain.push(char::from(code));
                plain.push_str(&part[3..]);
            }
            None => plain.push_str(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_reads_as_the_kernel_writes_it() {
        let line =
            r"77 86 254:0 /srv/a\040b /mnt/a\134b ro,nosuid shared:3 master:1 - ext4 /dev/vda rw,discard";
        let mount = MountLine::parse(line).expect("a mount");
        assert_eq!((mount.id, mount.device, mount.kind), (77, "254:0", "ext4"));
        assert_eq!((mount.root.as_str(), mount.place.as_str()), ("/srv/a b", r"/mnt/a\b"));
        assert_eq!((mount.propagation.as_str(), mount.super_options), ("shared:3 master:1", "rw,discard"));
        assert!(mount.has("ro") && mount.has("nosuid") && !mount.has("nodev"));
        assert_eq!(MountLine::parse("77 86 254:0 /"), None);
    }
}
