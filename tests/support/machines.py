"""Machines of a test's own: each with its network address, host name, boot and disk, every one a hop from a hub.

    def story(folder: Path) -> None:                     # in the hub: its addresses are reached from every machine
        with machines(folder, 4, shared=folder / "shared") as fleet:
            worker = CeleryWorker(folder, python=str(fleet[0].python), env={"TRAWL_OUTPUT": str(fleet[0].output)})

    if reason := why_no_machines(shared=True):
        pytest.skip(reason)
    netbox.call(story, tmp_path, addresses=[HUB])

Machines do not reach one another, as workers need nothing of each other. With `shared` each has a bindfs mount of its
own of one folder as its output: a lock that one takes there is not seen by the others. Needs what netbox.py and
tiny_disk.py need, and ip(8).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support import netbox
from tests.support.tiny_disk import TinyDisk

#: What listens there, in the hub, is reached from every machine.
HUB = "10.99.0.1"

#: Where a process reads which boot of its machine this is (random(4)).
_BOOT = "/proc/sys/kernel/random/boot_id"


class Machine(TinyDisk):
    """One of them; what runs on it has `python` as its interpreter."""

    def __init__(self, path: Path, number: int, *, size: str, shared: Path | None) -> None:
        """Describe it; `number` is its place in the network, from 1 on."""
        super().__init__(path, size=size, network=True)
        self._number = number
        self._shared = shared

    @property
    def name(self) -> str:
        """Its host name."""
        return self.path.name

    @property
    def address(self) -> str:
        """Its own network address."""
        return f"10.77.{self._number}.2"

    @property
    def output(self) -> Path:
        """Where its worker stores, as paths are on the machine."""
        return self.path / "out"

    def stored(self, path: str) -> Path:
        """Return a file of its output, as this process reaches it."""
        return (self._shared or self.seen / "out") / path

    def join(self) -> None:
        """Get a name, a boot and an address, and mount the shared folder."""
        (self.seen / "boot").write_text(f"{uuid.uuid4()}\n")
        (self.seen / "out").mkdir()
        near, wire = f"10.77.{self._number}.1", f"hub{self._number}"
        _told(f"ip link add {wire} type veth peer name eth0 netns {self.holder}")
        _told(f"ip address add {near}/24 dev {wire}")
        _told(f"ip link set {wire} up")
        mounting = f"bindfs {self._shared} {self.output}" if self._shared else ":"
        self.run(
            *("sh", "-ec"),
            f"hostname {self.name}; mount --bind {self.path}/boot {_BOOT}; {mounting};"
            f"ip link set lo up; ip address add {self.address}/24 dev eth0; ip link set eth0 up;"
            f"ip route add default via {near}",
        )

    def leave(self) -> None:
        """Let go of the shared folder: its file system is a process, which would outlive the machine."""
        if self._shared is not None:
            self.run("sh", "-c", f"umount -l {self.output} 2>/dev/null || true")


@contextmanager
def machines(folder: Path, count: int, *, size: str = "8m", shared: Path | None = None) -> Iterator[Sequence[Machine]]:
    """Run so many machines, called machine-1, machine-2 ...; call it in the hub. `size` is that of each disk.

    Raises NotPermittedError where the kernel lets us make none.
    """
    with ExitStack() as running:
        fleet = []
        for number in range(1, count + 1):
            machine = Machine(folder / f"machine-{number}", number, size=size, shared=shared)
            fleet.append(running.enter_context(machine))
            running.callback(machine.leave)
            machine.join()
        yield fleet


def why_no_machines(*, shared: bool) -> str | None:
    """Return why there can be none here (a sentence for pytest.skip), or None when there can."""
    needed = ["ip", "hostname", "mount", *(["bindfs", "umount"] if shared else [])]
    if missing := [program for program in needed if shutil.which(program) is None]:
        return f"no machines of our own here: no {', '.join(missing)}"
    if shared and not os.path.exists("/dev/fuse"):
        return "no machines with a shared folder here: no /dev/fuse"
    return netbox.why_not()


def _told(command: str) -> None:
    try:
        subprocess.run(command.split(), check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        raise netbox.NetboxError(f"{command}: {error.stderr.strip()}") from error
