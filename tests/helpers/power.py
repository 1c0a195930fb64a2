"""A disk that loses its power: ext4 in a file, shut down without flushing what is not synced.

What was written and not synced is gone, as after a real cut. It does not simulate a disk that
lies about having synced. Needs root.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self

__all__ = ["PowerDisk"]

_FS_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32), linux/fs.h
_NO_LOG_FLUSH = 2
_SIZE = 512_000_000  # of a sparse file


class PowerDisk:
    """A mounted disk; leaving it unmounts and removes it, whatever state it is in."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="zegel-power-"))
        self._folder.chmod(0o711)
        self._image, self.place = self._folder / "disk.img", self._folder / "disk"

    def __enter__(self) -> Self:
        with self._image.open("wb") as file:
            file.truncate(_SIZE)
        self.place.mkdir()
        _run("mkfs.ext4", "-q", "-F", "-m", "0", self._image)
        self._mount()
        return self

    def __exit__(self, *_exc: object) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self._unmount()
        subprocess.run(["umount", "-l", self.place], check=False, capture_output=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def cut(self, processes: Iterable[int]) -> None:
        """Cut the power: the processes stand still, and nothing more reaches the disk."""
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        folder = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, _FS_IOC_SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(folder)

    def restore(self) -> None:
        """Give the power back, once no process holds the disk: the journal is replayed.

        A zone may see the disk in a mount namespace of its own. As long as the kernel has not
        taken that down, which it does a little after the process is gone, the disk that was
        cut lives on, and mounting it gives it back as it is.
        """
        end = time.monotonic() + 10
        while True:
            self._unmount()
            try:
                self._mount()
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
            else:
                return

    def _mount(self) -> None:
        _run("mount", "-o", "loop", self._image, self.place)  # umount frees the loop device
        self.place.chmod(0o711)

    def _unmount(self) -> None:
        end = time.monotonic() + 10
        while True:
            try:
                _run("umount", self.place)
            except subprocess.CalledProcessError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
            else:
                return


def _run(*arguments: object) -> None:
    subprocess.run([str(each) for each in arguments], check=True, capture_output=True)
