"""A network of a test's own: a fresh network namespace with any addresses on its loopback, and its own resolver.

    def scenario(host: str) -> int:                       # a module-level function: it runs in another process
        with Sink(["0.0.0.0", "::"], [80]) as sink, DnsStub("127.0.0.1", 53) as dns:
            ...
            return sink.connections

    if reason := netbox.why_not():
        pytest.skip(reason)
    assert netbox.call(scenario, "rebind.test", every_address=True) == 0

Needs root, or a kernel that lets users make namespaces; nothing of it is seen outside, and all of it is gone when the
process ends. Works without the `ip` and `unshare` programs: namespaces(7), rtnetlink(7), mount(2).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import fcntl
import functools
import ipaddress
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")

PROJECT = Path(__file__).resolve().parents[2]

# linux/sched.h and linux/mount.h
CLONE_NEWNS, CLONE_NEWUTS, _CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x04000000, 0x10000000, 0x40000000
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000

# linux/sockios.h and linux/if.h
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1

# linux/netlink.h and linux/rtnetlink.h
_RTM_NEWADDR, _RTM_NEWROUTE, _NLMSG_ERROR = 20, 24, 2
_REQUEST_ACK_CREATE = 0x1 | 0x4 | 0x400
_IFA_ADDRESS, _IFA_LOCAL, _RTA_OIF = 1, 2, 4
_RT_TABLE_LOCAL, _RTPROT_STATIC, _RT_SCOPE_HOST, _RTN_LOCAL = 255, 4, 254, 2
_LOOPBACK = 1  # its index in every namespace


class NetboxError(RuntimeError):
    """The namespace could not be made or set up; the message says which step failed and why."""


class NotPermittedError(NetboxError):
    """The kernel does not let us make a namespace here."""


@functools.cache
def why_not() -> str | None:
    """Return why no namespace can be made here (a sentence for pytest.skip), or None when it can; asked once.

    Only a lack of permission is a reason: anything else that goes wrong raises, so that no bug hides as a skip.
    """
    try:
        call(os.getpid, every_address=True, nameserver="127.0.0.1", timeout=120.0)
    except NotPermittedError as reason:
        return f"no network namespace here: {reason}"
    return None


def call(
    function: Callable[..., Result],
    *args: Any,
    addresses: Iterable[str] = (),
    every_address: bool = False,
    nameserver: str | None = None,
    timeout: float = 200.0,
) -> Result:
    """Call a function in a process with a namespace of its own and return what it returned.

    Function, arguments and result are pickled: the function must be importable. An exception it raises is raised
    here, with its traceback in the notes. What it prints goes to our stderr.

    `addresses` are put on its loopback; `every_address` makes every address there is a local one, so that a server
    on 0.0.0.0 and :: is reached whatever address is called. `nameserver` becomes the only one in /etc/resolv.conf.
    Raises NetboxError when the namespace cannot be made, subprocess.TimeoutExpired after `timeout` seconds.
    """
    box = [
        *(f"--address={address}" for address in addresses),
        *(["--every-address"] if every_address else []),
        *([f"--nameserver={nameserver}"] if nameserver else []),
    ]
    with tempfile.TemporaryDirectory(prefix="netbox-") as folder:
        answer = Path(folder) / "answer"
        task = pickle.dumps(sys.path) + pickle.dumps((function, args))
        done = _in_box([*box, str(answer)], task, timeout)
        sys.stderr.write(done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace"))
        if not answer.exists():
            raise NetboxError(f"the function's process ended with {done.returncode} and no answer: {done.stderr!r}")
        returned, result, trace = pickle.loads(answer.read_bytes())
    if returned:
        return result  # type: ignore[no-any-return]  # whatever the function returned
    result.add_note(f"in the netbox:\n{trace}")
    raise result


def _in_box(arguments: list[str], stdin: bytes, timeout: float) -> subprocess.CompletedProcess[bytes]:
    """Run this module in a process of its own, which makes the namespace and calls the function."""
    report_read, report_write = os.pipe()
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(os.close, report_read)
        before = _resolver_file()
        # A fresh interpreter and no fork: the test's process has threads, which a fork would cut in half.
        # -P: the folder of this file is no place to import from.
        process = subprocess.Popen(
            [sys.executable, "-P", __file__, f"--report={report_write}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(report_write,),
            start_new_session=True,
            cwd=PROJECT,
        )
        os.close(report_write)
        try:
            stdout, stderr = process.communicate(stdin, timeout)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        finally:
            if _resolver_file() != before:
                _undo_leaked_mount()
        trouble = os.read(report_read, 4096).decode()
    if trouble:
        kind, _, reason = trouble.partition(":")
        raise NotPermittedError(reason) if kind == "permission" else NetboxError(reason)
    return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


def _resolver_file() -> tuple[int, int] | None:
    try:
        found = os.stat("/etc/resolv.conf")
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _undo_leaked_mount() -> None:
    """Unmount a resolv.conf that came out of the box: in a chroot on a shared mount nothing can keep it inside."""
    libc().umount2(b"/etc/resolv.conf", 2)


# ---- inside the box's process


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--report", type=int, required=True)
    parser.add_argument("--address", action="append", default=[])
    parser.add_argument("--every-address", action="store_true")
    parser.add_argument("--nameserver")
    parser.add_argument("answer", type=Path)
    chosen = parser.parse_args()
    try:
        enter(chosen.address, every_address=chosen.every_address, nameserver=chosen.nameserver)
    except (OSError, NetboxError) as reason:
        kind = "permission" if isinstance(reason, NotPermittedError) else "fault"
        os.write(chosen.report, f"{kind}:{reason}"[:4000].encode())
        sys.exit(70)
    os.close(chosen.report)
    _answer_call(chosen.answer)


def _answer_call(answer: Path) -> None:
    # Two pickles one after the other: the second one can be read once its modules can be found.
    sys.path[:] = pickle.load(sys.stdin.buffer)
    try:
        function, args = pickle.load(sys.stdin.buffer)
        told: tuple[bool, object, str] = (True, function(*args), "")
        pickled = pickle.dumps(told)
    except BaseException as error:
        trace = traceback.format_exc()
        try:
            pickled = pickle.dumps((False, error, trace))
            pickle.loads(pickled)
        except Exception:
            # Exceptions whose constructor wants more than their args do not survive pickling.
            pickled = pickle.dumps((False, RuntimeError(repr(error)), trace))
    answer.write_bytes(pickled)


def enter(addresses: Sequence[str], *, every_address: bool = False, nameserver: str | None = None) -> None:
    """Leave the machine's network, for good, for one that has only a loopback; call it before there are threads."""
    unshare(CLONE_NEWNET | CLONE_NEWNS, becomes_root=True)
    _bring_loopback_up()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        for address in addresses:
            _add_address(kernel, address)
        if every_address:
            for family in (socket.AF_INET, socket.AF_INET6):
                _make_every_address_local(kernel, family)
    if nameserver is not None:
        _point_resolver_at(nameserver)


def unshare(flags: int, *, becomes_root: bool) -> None:
    """Leave some namespaces of the machine, for good; who is not root needs one for users, too."""
    user, group = os.geteuid(), os.getegid()
    with step("unshare(2), which needs root or unprivileged user namespaces"):
        check(libc().unshare(flags | (_CLONE_NEWUSER if user else 0)))
    if user:
        with step("becoming somebody in the user namespace"):
            Path("/proc/self/setgroups").write_text("deny", "ascii")
            Path("/proc/self/uid_map").write_text(f"{0 if becomes_root else user} {user} 1", "ascii")
            Path("/proc/self/gid_map").write_text(f"{0 if becomes_root else group} {group} 1", "ascii")


def keep_mounts_inside() -> None:
    """Let what is mounted from now on be seen in this mount namespace only."""
    with step("making mounts private"):
        # In a chroot / is no mount point: EINVAL. What comes out then is undone by the process outside.
        if libc().mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None) != 0 and ctypes.get_errno() != errno.EINVAL:
            check(-1)


def _bring_loopback_up() -> None:
    with step("bringing the loopback up"), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        request = struct.pack("16sH14x", b"lo", 0)
        (flags,) = struct.unpack_from("H", fcntl.ioctl(wire, _SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(wire, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def _add_address(kernel: socket.socket, address: str) -> None:
    """RTM_NEWADDR, as `ip address add ADDRESS dev lo` does it."""
    parsed = ipaddress.ip_address(address)
    family = socket.AF_INET if parsed.version == 4 else socket.AF_INET6
    body = struct.pack("=BBBBI", family, parsed.max_prefixlen, 0, 0, _LOOPBACK)
    body += _attribute(_IFA_LOCAL, parsed.packed) + _attribute(_IFA_ADDRESS, parsed.packed)
    with step(f"giving the loopback {address}"):
        _ask(kernel, _RTM_NEWADDR, body, may_exist=True)


def _make_every_address_local(kernel: socket.socket, family: int) -> None:
    """RTM_NEWROUTE, as `ip route add local default dev lo` does it."""
    body = struct.pack("=BBBBBBBBI", family, 0, 0, 0, _RT_TABLE_LOCAL, _RTPROT_STATIC, _RT_SCOPE_HOST, _RTN_LOCAL, 0)
    with step(f"making every address local ({'IPv4' if family == socket.AF_INET else 'IPv6'})"):
        _ask(kernel, _RTM_NEWROUTE, body + _attribute(_RTA_OIF, struct.pack("=I", _LOOPBACK)), may_exist=True)


def _attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + bytes(-length % 4)


def _ask(kernel: socket.socket, kind: int, body: bytes, *, may_exist: bool) -> None:
    """Send one request and raise OSError if the kernel's acknowledgement says no."""
    kernel.send(struct.pack("=IHHII", 16 + len(body), kind, _REQUEST_ACK_CREATE, 1, 0) + body)
    reply = kernel.recv(4096)
    (answered,) = struct.unpack_from("=H", reply, 4)
    (code,) = struct.unpack_from("=i", reply, 16)
    if answered != _NLMSG_ERROR or (code and not (may_exist and -code == errno.EEXIST)):
        raise OSError(-code, os.strerror(-code))


def _point_resolver_at(nameserver: str) -> None:
    """Bind a resolv.conf of our own over /etc/resolv.conf, in this mount namespace only."""
    keep_mounts_inside()
    with step("mounting a resolv.conf"), tempfile.NamedTemporaryFile("w", prefix="resolv-") as made:
        # One short try: a stub on loopback loses nothing, and tests of silence should not last.
        made.write(f"nameserver {nameserver}\noptions timeout:1 attempts:1\n")
        made.flush()
        os.chmod(made.name, 0o644)
        check(libc().mount(made.name.encode(), b"/etc/resolv.conf", None, _MS_BIND, None))


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Say what was being done where the system refuses it.

    Raises:
        NotPermittedError: this kernel, or its limit of namespaces (ENOSPC), does not let us.
        NetboxError: another reason.
    """
    try:
        yield
    except OSError as reason:
        is_forbidden = reason.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENOSPC)
        raise (NotPermittedError if is_forbidden else NetboxError)(f"{what}: {reason}") from reason


def check(result: int) -> None:
    """Raise the OSError of a call of libc that did not return zero."""
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@functools.cache
def libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


if __name__ == "__main__":
    _main()
