"""A disk that can lose its power: ext4 in a file, shut down below its journal by the ioctl that file system tests use.

What was not synced is gone after `restore`, data and metadata alike, as after a power cut with a write cache.
"""

import fcntl
import os
import struct
import subprocess

EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2
SIZE_BYTES = 256 * 1024 * 1024


class NoPowerToCut(Exception):
    """This machine does not let us mount a file."""


def cut_power(folder):
    """Cut the power of the file system that a folder is the root of."""
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))


class Disk:
    """An ext4 file system of its own.

    Args:
        folder: An empty folder; the image and the mount point go below it.

    Raises:
        NoPowerToCut: mounting is not allowed here, or there is no ext4.
    """

    def __init__(self, folder):
        self.image, self.root = folder / "image", folder / "disk"
        self.root.mkdir()
        with self.image.open("wb") as image:
            image.truncate(SIZE_BYTES)
        self._call("mkfs.ext4", "-qF", self.image)
        self._mount()

    def _call(self, *command):
        try:
            done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        except FileNotFoundError as exc:
            raise NoPowerToCut(str(exc)) from exc
        if done.returncode:
            raise NoPowerToCut(f"{command[0]}: {done.stderr.strip()}")

    def _mount(self):
        self._call("mount", "-o", "loop", self.image, self.root)

    def restore(self):
        """Mount the disk again: its journal is replayed. Nobody may have a file of it open any more."""
        self._call("umount", self.root)
        self._mount()

    def close(self):
        """Take the disk away."""
        subprocess.run(["umount", "-l", str(self.root)], capture_output=True, check=False)
