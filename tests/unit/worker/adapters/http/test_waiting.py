"""When select() gives way to epoll: where it watches many sockets for each that is ready."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from worker.adapters.http.waiting import Selecting

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
