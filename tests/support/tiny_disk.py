"""A disk that fills up: a small tmpfs that only the processes started on it see.

    with TinyDisk(tmp_path / "disk", size="1m") as disk:
        worker = CeleryWorker(..., python=str(disk.python), env={"TRAWL_OUTPUT": str(disk.path / "out")})
        (disk.seen / "ballast").write_bytes(...)            # the same place, as this process reaches it

Needs root, or a kernel that lets users make namespaces: mount_namespaces(7), setns(2). Raises NotPermittedError
elsewhere. Nothing of it is left when the process that holds it ends.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

import pytest

from tests.support import netbox
from tests.support.netbox import NetboxError, NotPermittedError

PROJECT = Path(__file__).resolve().parents[2]

_MNT_DETACH = 2  # linux/mount.h


class TinyDisk:
    """A mount namespace with a tmpfs in it and a host name of its own, held by a process that does nothing else;
    a context manager.
    """

    def __init__(self, path: Path, *, size: str, network: bool = False) -> None:
        """Describe it: where it is mounted and how large it is, as mount(8) says sizes (`512k`, `2m`).

        With `network` what runs on it has a network of its own, too, in which nothing is up yet.
        """
        self.path = path
        self._size = size
        self._network = network
        self._holder: subprocess.Popen[str] | None = None

    @property
    def holder(self) -> int:
        """The pid of the process whose namespaces they are."""
        assert self._holder is not None
        return self._holder.pid

    @property
    def seen(self) -> Path:
        """The disk's root as a process outside reaches it."""
        return Path(f"/proc/{self.holder}/root{self.path}")

    @property
    def python(self) -> Path:
        """A program that is this Python, on the disk."""
        program = self.path.with_name(f"{self.path.name}-python")
        inside = f"{sys.executable} -m {__name__} enter {self.holder}"
        program.write_text(f'#!/bin/sh\nexec {inside} {sys.executable} "$@"\n')
        program.chmod(0o755)
        return program

    def run(self, *command: object) -> str:
        """Run a command on the disk, as root if we are; return what it said, or raise CalledProcessError."""
        inside = [sys.executable, "-m", __name__, "enter", str(self.holder), *map(str, command)]
        return subprocess.check_output(inside, cwd=PROJECT, stderr=subprocess.STDOUT, text=True)

    def fill(self, *, leave: int) -> None:
        """Write a file called ballast until only so many bytes are free, or none where others write too."""
        found = os.statvfs(self.seen)
        try:
            (self.seen / "ballast").write_bytes(bytes(found.f_bavail * found.f_frsize - leave))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise

    def empty(self) -> None:
        """Remove the ballast."""
        (self.seen / "ballast").unlink()

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True)
        self._holder = subprocess.Popen(
            [sys.executable, "-m", __name__, "hold", str(self.path), self._size, "net" if self._network else ""],
            cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._holder.stdout is not None
        said = self._holder.stdout.readline().strip()
        if said != "ready":
            self.__exit__(None, None, None)
            raise NotPermittedError(said) if said.startswith("not permitted") else NetboxError(said or "no answer")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._holder is not None
        self._holder.communicate("")
        if os.path.ismount(self.path):  # in a chroot on a shared mount nothing can keep it inside
            netbox.libc().umount2(os.fsencode(self.path), _MNT_DETACH)


# ---- inside


@contextmanager
def tiny_disk_or_skip(path: Path, size: str) -> Iterator[TinyDisk]:
    """Mount a disk for a test, which is skipped if that is not permitted."""
    with ExitStack() as mounted:
        try:
            disk = mounted.enter_context(TinyDisk(path, size=size))
        except NotPermittedError as reason:
            pytest.skip(f"no file system of our own here: {reason}")
        yield disk


def _hold(path: str, size: str, network: str) -> None:
    try:
        netbox.unshare(
            netbox.CLONE_NEWNS | netbox.CLONE_NEWUTS | (netbox.CLONE_NEWNET if network else 0), becomes_root=False
        )
        netbox.keep_mounts_inside()
        with netbox.step("mounting a tmpfs"):
            options = f"size={size},mode=755".encode()
            netbox.check(netbox.libc().mount(b"tmpfs", os.fsencode(path), b"tmpfs", 0, options))
    except NetboxError as reason:
        print(f"{'not permitted' if isinstance(reason, NotPermittedError) else 'failed'}: {reason}", flush=True)
        return
    print("ready", flush=True)
    sys.stdin.read()


def _enter(holder: str, command: list[str]) -> None:
    folder = os.getcwd()
    root = os.open(f"/proc/{holder}/root", os.O_RDONLY | os.O_DIRECTORY)
    for kind in ("user", "uts", "net", "mnt"):
        theirs = f"/proc/{holder}/ns/{kind}"
        if not os.path.samefile(theirs, f"/proc/self/ns/{kind}"):
            fd = os.open(theirs, os.O_RDONLY)
            with netbox.step(f"joining the {kind} namespace"):
                netbox.check(netbox.libc().setns(fd, 0))
            os.close(fd)
    # Joining a mount namespace leaves us in its root; where tests run in a chroot, that is not the holder's.
    os.fchdir(root)
    os.chroot(".")
    os.close(root)
    os.chdir(folder)
    os.execvp(command[0], command)


if __name__ == "__main__":
    if sys.argv[1] == "hold":
        _hold(*sys.argv[2:])
    else:
        _enter(sys.argv[2], sys.argv[3:])
