"""When select() gives way to epoll, where few of the sockets it watches are ready; and what epoll watches one for."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pycurl
import pytest

from worker.adapters.http.waiting import Polling, Selecting

_WATCHED = 32


class Sockets:
    """What the driver asks of libcurl's multi handle; pipes stand in for sockets."""

    def __init__(self) -> None:
        self.pipes = [os.pipe() for _ in range(_WATCHED)]

    def setopt(self, option: int, value: Any) -> None:
        """There is no callback to set."""

    def fdset(self) -> tuple[list[int], list[int], list[int]]:
        return [exit_ for exit_, _ in self.pipes], [], []

    def perform(self) -> None:
        """What is ready stays ready."""


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    sockets = Sockets()
    yield sockets
    for pipe in sockets.pipes:
        for end in pipe:
            os.close(end)


@pytest.mark.parametrize(
    ("ready", "is_sparse"),
    [
        pytest.param(1, True, id="one"),
        pytest.param(_WATCHED, False, id="all"),
        pytest.param(0, False, id="none: silence costs no wait"),
    ],
)
def test_sockets_are_sparse_if_few_of_many_are_ready(sockets: Sockets, ready: int, is_sparse: bool) -> None:
    for _, entrance in sockets.pipes[:ready]:
        os.write(entrance, b"\0")
    wake, entrance = os.pipe()
    driver = Selecting(sockets, wake)

    for _ in range(500):
        driver.wait(0.0001)

    os.close(wake)
    os.close(entrance)
    assert driver.is_sparse is is_sparse


class Interests:
    """What the driver asks of libcurl's multi handle, and what it tells it."""

    def __init__(self) -> None:
        self.ready: list[tuple[int, int]] = []
        self.watch: Callable[[int, int, Any, Any], None] = lambda *_: None

    def setopt(self, _option: int, value: Callable[[int, int, Any, Any], None]) -> None:
        self.watch = value

    def socket_action(self, fd: int, action: int) -> None:
        self.ready.append((fd, action))

    def timeout(self) -> int:
        return -1


def test_epoll_watches_a_socket_for_what_libcurl_asked_last() -> None:
    interests = Interests()
    wake, entrance = os.pipe()
    driver = Polling(interests, wake)
    ours, theirs = socket.socketpair()
    theirs.send(b"an answer")

    for what in (pycurl.POLL_OUT, pycurl.POLL_IN, pycurl.POLL_REMOVE):
        interests.watch(what, ours.fileno(), None, None)
        driver.wait(0.0)

    assert interests.ready == [(ours.fileno(), pycurl.CSELECT_OUT), (ours.fileno(), pycurl.CSELECT_IN)]
    driver.close()
    for each in (ours, theirs):
        each.close()
    os.close(wake)
    os.close(entrance)
