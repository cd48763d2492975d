"""A process that stores files, killed in place of its n-th system call, for every n.

``python -m tests.support.killed_writers STORY FOLDER`` calls the function STORY (``module:name``) with FOLDER/1 in a
process that is killed at the first call, with FOLDER/2 in one that is killed at the second, and so on until one ends
by itself; it prints how many were killed.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.support.faulty_calls import FaultyCalls

PROJECT = Path(__file__).resolve().parents[2]
_MOST = 2000  # calls; a story that makes more is none for every n


def kill_at_every_call(story: str, folder: Path, *arguments: str) -> int:
    """Play a story once per call, each time killed there; return the number of those. The folders stay."""
    command = [sys.executable, "-m", "tests.support.killed_writers", story, str(folder), *arguments]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise AssertionError(f"the story could not be played: {done.stderr[-3000:]}")
    return int(done.stdout)


def _play(story: Callable[..., None], folder: Path, at: int, arguments: list[str]) -> bool:
    """Play it in a child killed at this call; was it?"""
    folder.mkdir(parents=True)
    child = os.fork()  # this process has one thread
    if child == 0:
        status = 1
        try:
            with FaultyCalls(at=at):
                story(folder, *arguments)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, -signal.SIGKILL):
        raise AssertionError(f"the story broke at call {at}")
    return status != 0


def main(story: str, folder: str, *arguments: str) -> None:
    module, _, name = story.partition(":")
    function = getattr(importlib.import_module(module), name)
    for at in range(1, _MOST):
        if not _play(function, Path(folder) / str(at), at, list(arguments)):
            print(at - 1)
            return
    raise AssertionError("the story never ends")


if __name__ == "__main__":
    main(*sys.argv[1:])
