"""The emulated host's kernel: Debian's own, downloaded once and installed nowhere."""

import glob
import lzma
import os
import re
import shutil
import subprocess
import tempfile

# The smaller linux-image-cloud-amd64 has no 9p.
PACKAGE = "linux-image-amd64"


class LabError(Exception):
    """Why there is no emulated host, and what helps."""


class Kernel:
    """Files of a kernel package in a folder of ours: `vmlinux`, and modules wherever the package has them."""

    def __init__(self, folder):
        self.image = os.path.join(folder, "vmlinux")
        paths = glob.glob(os.path.join(folder, "**", "*.ko"), recursive=True)
        self._paths = {module_name(os.path.basename(path)[:-3]): path for path in paths}

    def modules(self, names):
        """Name and content of these modules, and of what they need, in the order of loading."""
        contents = {}
        for name in map(module_name, names):
            with open(self._paths[name], "rb") as file:
                content = file.read()
            needed = re.search(rb"\0depends=([^\0]*)\0", content)[1].decode()
            contents |= self.modules(set(needed.split(",")) - {""} - contents.keys())
            contents[name] = content
        return contents


def module_name(name):
    """A module's file may have dashes where its name has underscores."""
    return name.replace("-", "_")


def kernel(cache):
    """The kernel in the folder `cache`, downloaded if it is not there yet."""
    folder = os.path.join(cache, PACKAGE)
    if not os.path.exists(folder):
        os.makedirs(cache, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="download-") as temporary:
            unpacked = download(temporary)
            try:
                os.rename(unpacked, folder)
            except OSError:
                if not os.path.exists(folder):  # another lab was faster
                    raise
    return Kernel(folder)


def download(temporary):
    """Makes the folder of a kernel and returns its path."""
    for tool in ("apt-cache", "apt-get", "dpkg"):
        if not shutil.which(tool):
            raise LabError(f"the kernel comes from Debian's packages, and there is no {tool} here")
    try:
        package = download_package(temporary)
    except LabError:
        if os.geteuid() != 0:
            raise
        # A new machine has no lists of packages, and in old ones are versions that are not there any more. One
        # source that cannot be reached need not matter: the next line decides.
        subprocess.run(["apt-get", "-qq", "update"], check=False, capture_output=True)
        package = download_package(temporary)
    unpacked = os.path.join(temporary, "unpacked")
    run(["dpkg", "-x", package, unpacked], temporary)
    with open(glob.glob(os.path.join(unpacked, "boot", "vmlinuz-*"))[0], "rb") as file:
        image = extract(file.read())
    with open(os.path.join(unpacked, "vmlinux"), "wb") as file:
        file.write(image)
    return unpacked


def download_package(folder):
    """Path of the package of the current version, downloaded."""
    # The one without a version is empty and depends on that.
    depends = run(["apt-cache", "depends", "--important", PACKAGE], folder)
    versions = re.findall(r"Depends: (linux-image-\S+)", depends)
    if not versions:
        raise LabError(f"no package {PACKAGE} is known here; as root: apt-get update")
    # apt's own user cannot write into a folder of ours.
    run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", versions[0]], folder)
    return glob.glob(os.path.join(folder, "*.deb"))[0]


def extract(image):
    """The program inside a compressed kernel, which an emulated processor would take seconds to unpack.

    Documentation/x86/boot.rst of the kernel tells where it is.
    """

    def number(at, size):
        return int.from_bytes(image[at : at + size], "little")

    start = (number(0x1F1, 1) + 1) * 512 + number(0x248, 4)
    return lzma.LZMADecompressor().decompress(image[start : start + number(0x24C, 4)])


def run(command, folder):
    """What a command prints to stdout."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip()}; as root: apt-get update")
    return done.stdout
