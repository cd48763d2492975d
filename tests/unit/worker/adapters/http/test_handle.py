"""What libcurl's callbacks make of a machine that has run out of something."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pycurl
import pytest

from worker.adapters.http import handle as adapter
from worker.engine.failures import Kind
from worker.engine.safety import Verdict


@contextmanager
def descriptors_left(few: int) -> Iterator[None]:
    """Let this process open so many more files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    filling = []
    try:
        while True:
            filling.append(os.dup(0))
    except OSError:
        for each in filling[len(filling) - few :]:
            os.close(each)
    try:
        yield
    finally:
        for each in filling[: len(filling) - few]:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("few", [0, 1])
def test_a_lack_of_descriptors_is_not_the_servers_fault(few: int) -> None:
    """Guards ``open_socket``: pycurl duplicates the socket it is given, and blames the server if it cannot."""
    judged = SimpleNamespace(judge=lambda *_: Verdict(True, ""), crowd=lambda: None)
    opened: Any = adapter.Handle.__new__(adapter.Handle)
    opened.is_early, opened.sockets, opened.body, opened._stopped, opened._common = False, 0, object(), None, judged

    with descriptors_left(few):
        answer = opened.open_socket(0, (socket.AF_INET, socket.SOCK_STREAM, 6, ("127.0.0.1", 80)))

    assert answer == pycurl.SOCKET_BAD
    assert opened._stopped is not None
    assert opened._stopped.kind is Kind.LOCAL
