"""The emulated host's initramfs: an archive in the kernel's own cpio format, made without privileges."""

# Types of files in their modes.
FOLDER, FILE, CHARACTER_DEVICE = 0o040000, 0o100000, 0o020000


class Archive:
    """A cpio archive in the "newc" format (Documentation/driver-api/early-userspace/buffer-format.rst)."""

    def __init__(self):
        self._bytes = bytearray()
        self._entries = 0

    def folder(self, path):
        self._add(path, FOLDER | 0o755)

    def file(self, path, content, mode=0o644):
        if isinstance(content, str):
            content = content.encode()
        self._add(path, FILE | mode, content)

    def character_device(self, path, major, minor):
        self._add(path, CHARACTER_DEVICE | 0o600, device=(major, minor))

    def finish(self):
        """The whole archive."""
        self._add("TRAILER!!!", 0)
        return bytes(self._bytes)

    def _add(self, path, mode, content=b"", device=(0, 0)):
        self._entries += 1
        name = path.encode() + b"\0"
        # Inode, mode, uid, gid, links, time, size, device, device of a device file, size of name, checksum.
        fields = (self._entries, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name), 0)
        header = b"070701" + b"".join(b"%08x" % field for field in fields)
        for part in (header + name, content):
            self._bytes += part
            self._bytes += bytes(-len(self._bytes) % 4)
