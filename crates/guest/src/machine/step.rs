//! One line of the description.

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// Loads a module of the kernel.
    Module(&'a str),
    /// Makes a folder of this mode, or gives one the mode.
    Folder(u32, &'a str),
    /// Makes a symbolic link: target, and where it is.
    Link(&'a str, &'a str),
    /// Makes a character device: where, and its numbers.
    Device(&'a str, u32, u32),
    /// Mounts a file system.
    Mount {
        /// What is mounted.
        source: &'a str,
        /// Where.
        target: &'a str,
        /// Which kind it is.
        fstype: &'a str,
        /// As in `mount(2)`.
        flags: u32,
        /// Options of the kind.
        data: &'a str,
    },
    /// Waits until a device is there.
    Await(&'a str),
    /// Covers a file or folder.
    Hide(&'a str),
    /// Makes a place read-only.
    Fix(&'a str),
    /// Writes into a file of the kernel.
    Write(&'a str, &'a str),
    /// Makes a folder the root.
    Root(&'a str),
    /// Names the machine.
    Hostname(&'a str),
    /// Brings the loopback interface up.
    Loopback,
    /// Limits this process and all that it starts: name, soft, hard.
    Rlimit(&'a str, u64, u64),
    /// Becomes this user and group, without capabilities.
    User(u32, u32),
    /// Installs filters of system calls.
    Filters(&'a str),
    /// Opens the stream to the host.
    Stream(&'a str),
    /// Opens the control group that commands enter, by its folder.
    Group(&'a str),
    /// Listens on this port of the machine's own socket for its host, whose call becomes the stream.
    Listen(u32),
    /// Waits on the stream for what this machine alone has.
    Renew,
    /// Stirs bytes, in hexadecimal, into the kernel's random numbers.
    Entropy(&'a str),
    /// Writes a file: where, and its content in hexadecimal.
    Fill(&'a str, &'a str),
    /// Sets the wall clock: seconds and nanoseconds since 1970.
    Clock(i64, i64),
}

impl<'a> Step<'a> {
    /// Understands a line; the error says that it cannot.
    pub fn parse(line: &'a str) -> Result<Self, String> {
        let words: Vec<&str> = line.split('\t').collect();
        let step = match words[..] {
            ["module", path] => Some(Self::Module(path)),
            ["folder", mode, path] => u32::from_str_radix(mode, 8).ok().map(|mode| Self::Folder(mode, path)),
            ["link", target, path] => Some(Self::Link(target, path)),
            ["device", path, major, minor] => {
                number(major).zip(number(minor)).map(|(major, minor)| Self::Device(path, major, minor))
            }
            ["mount", source, target, fstype, flags, data] => {
                number(flags).map(|flags| Self::Mount { source, target, fstype, flags, data })
            }
            ["await", path] => Some(Self::Await(path)),
            ["hide", path] => Some(Self::Hide(path)),
            ["fix", path] => Some(Self::Fix(path)),
            ["write", path, text] => Some(Self::Write(path, text)),
            ["root", path] => Some(Self::Root(path)),
            ["hostname", name] => Some(Self::Hostname(name)),
            ["loopback"] => Some(Self::Loopback),
            ["rlimit", name, soft, hard] => {
                soft.parse().ok().zip(hard.parse().ok()).map(|(soft, hard)| Self::Rlimit(name, soft, hard))
            }
            ["user", uid, gid] => number(uid).zip(number(gid)).map(|(uid, gid)| Self::User(uid, gid)),
            ["filters", path] => Some(Self::Filters(path)),
            ["stream", path] => Some(Self::Stream(path)),
            ["group", path] => Some(Self::Group(path)),
            ["listen", port] => number(port).map(Self::Listen),
            ["renew"] => Some(Self::Renew),
            ["fill", path, hex] => Some(Self::Fill(path, hex)),
            ["entropy", hex] => Some(Self::Entropy(hex)),
            ["clock", seconds, nanoseconds] => {
                seconds.parse().ok().zip(nanoseconds.parse().ok()).map(|(s, ns)| Self::Clock(s, ns))
            }
            _ => None,
        };
        step.ok_or_else(|| "no step that this agent knows".to_owned())
    }
}

fn number(word: &str) -> Option<u32> {
    word.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_understood_or_refused_whole() {
        assert_eq!(Step::parse("folder\t1777\t/tmp"), Ok(Step::Folder(0o1777, "/tmp")));
        assert_eq!(
            Step::parse("mount\tnone\t/proc\tproc\t14\t"),
            Ok(Step::Mount { source: "none", target: "/proc", fstype: "proc", flags: 14, data: "" })
        );
        assert_eq!(Step::parse("clock\t7\t9"), Ok(Step::Clock(7, 9)));
        assert_eq!(Step::parse("rlimit\tcore\t0\t0"), Ok(Step::Rlimit("core", 0, 0)));
        for wrong in
            ["", "folder", "folder\t9\t/x", "mount\ta\tb\tc\td\te", "user\t-1\t0", "reboot", "root\t/\t/"]
        {
            assert!(Step::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
