"""An interactive shell on a terminal of its own, with job control: what Ctrl-Z and `fg` need."""

from __future__ import annotations

import os
import pty
import select
import signal
from collections.abc import Mapping
from pathlib import Path

from tests.support.processes import await_condition, descendants, send

CTRL_Z = "\x1a"


class Shell:
    """bash as at a user's terminal; a context manager that ends it with all it started."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = {**environment, "PS1": "$ ", "TERM": "xterm", "HISTFILE": ""}
        self._pid = self._terminal = 0
        self._shown = b""

    def __enter__(self) -> Shell:
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:  # the shell
            os.chdir(self._folder)
            os.execve("/bin/bash", ["bash", "--norc", "--noprofile", "-i"], self._environment)
        return self

    def __exit__(self, *_: object) -> None:
        for pid in [*descendants(self._pid), self._pid]:
            send(pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._terminal)

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def await_text(self, text: str) -> str:
        """Wait until this is shown, after what was waited for last; return all that came until then."""
        await_condition(lambda: text in self._read(), within=120, what=f"{text!r} on the terminal")
        shown, _, rest = self._shown.decode(errors="replace").partition(text)
        self._shown = rest.encode()
        return shown

    def _read(self) -> str:
        while select.select([self._terminal], [], [], 0)[0]:
            try:
                self._shown += os.read(self._terminal, 65536)
            except OSError:  # the shell is gone
                break
        return self._shown.decode(errors="replace")
