"""A small process that starts the embedded services of a run, and kills them when the run has ended.

A run that is killed cannot clean up. When it ends, however that is, the supervisor reads the end of its standard input
and kills what it started. It reads one JSON command per line and writes one JSON event per line:

    {"start": NAME, "command": [...], "environment": {...}, "log": PATH}    ->  {"started": NAME, "pid": PID}
    {"signal": NAME, "number": 15}          to the process itself; 9 goes to its whole group
    {"remove": FOLDER}                      to be removed at the end
    a process ended                                                         ->  {"ended": NAME, "status": STATUS}

It imports little, and only from the standard library: it starts first and stays until the run ends.
"""

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable

_GROUP_GONE_WITHIN = 2.0  # seconds
_PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>


def main() -> None:
    # The terminal's Ctrl-C is for the run, which sends commands.
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    names: dict[int, str] = {}
    folders: list[str] = []
    try:
        _serve(wake, names, folders)
    finally:
        _adopt_orphans()
        for pid in names:
            _signal(pid, signal.SIGKILL)
        for pid in names:
            _wait(pid)
        for folder in folders:
            _remove(folder)


def _serve(wake: int, names: dict[int, str], folders: list[str]) -> None:
    unread = b""
    while True:
        ready = select.select([0, wake], [], [])[0]
        if wake in ready:
            os.read(wake, 4096)
            _reap(names)
        if 0 in ready:
            read = os.read(0, 65536)
            if not read:
                return
            *lines, unread = (unread + read).split(b"\n")
            for line in lines:
                _obey(json.loads(line), names, folders)


def _obey(command: dict[str, object], names: dict[int, str], folders: list[str]) -> None:
    if "start" in command:
        _start(command, names)
    elif "signal" in command:
        for pid, name in names.items():
            if name == command["signal"]:
                _signal(pid, int(str(command["number"])))
    elif "remove" in command:
        folders.append(str(command["remove"]))


def _start(command: dict[str, object], names: dict[int, str]) -> None:
    program, environment, name = command["command"], command["environment"], str(command["start"])
    assert isinstance(program, list)
    assert isinstance(environment, dict)
    log = str(command["log"])
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    defaults = [signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD, signal.SIGTERM]
    try:
        pid = os.posix_spawn(
            program[0], program, environment, file_actions=actions, setsid=True, setsigdef=defaults, setsigmask=[]
        )
    except OSError as error:
        _say({"ended": name, "status": 127, "reason": error.strerror})
        return
    names[pid] = name
    _say({"started": name, "pid": pid})


def _reap(names: dict[int, str]) -> None:
    while names:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        name = names.pop(pid, None)
        if name is not None:
            _signal(pid, signal.SIGKILL)  # the rest of its group, which may have outlived it
            _say({"ended": name, "status": os.waitstatus_to_exitcode(status)})


def _signal(pid: int, number: int) -> None:
    try:
        if number == signal.SIGKILL:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)
    except OSError:
        pass  # gone already


def _adopt_orphans() -> None:
    """Adopt orphans of our programs, to reap them: in many containers nothing else does, or only late."""
    try:
        import ctypes  # not before: it would be a third of what this process takes to start

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        pass  # not Linux: there the system reaps them soon


def _wait(pid: int) -> None:
    """Wait for a program that was killed, and a moment for the rest of its group: its files are removed next."""
    try:
        os.waitpid(pid, 0)
        until = time.monotonic() + _GROUP_GONE_WITHIN
        while time.monotonic() < until:
            _reap_orphans(pid)
            os.killpg(pid, 0)
            time.sleep(0.005)
    except OSError:
        pass  # gone


def _reap_orphans(group: int) -> None:
    try:
        while os.waitpid(-group, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass  # there are none


def _remove(folder: str) -> None:
    for path, folders, files in os.walk(folder, topdown=False):
        for name in files:
            _try(os.unlink, os.path.join(path, name))
        for name in folders:
            inner = os.path.join(path, name)
            _try(os.unlink if os.path.islink(inner) else os.rmdir, inner)
    _try(os.rmdir, folder)


def _try(remove: Callable[[str], None], path: str) -> None:
    try:
        remove(path)
    except OSError:
        pass


def _say(event: dict[str, object]) -> None:
    try:
        os.write(1, json.dumps(event).encode() + b"\n")
    except OSError:
        pass  # the run is gone, and this process is about to exit


if __name__ == "__main__":
    main()
    sys.exit(0)
