"""How many quiet transfers a process may have, by its limit of open files."""

from __future__ import annotations

import resource

import pytest

from worker.wiring import _most_quiet


@pytest.mark.parametrize(
    ("window", "lanes", "descriptors", "most"),
    [
        pytest.param(64, 1, 1024, 256, id="four windows"),
        pytest.param(64, 1, resource.RLIM_INFINITY, 256, id="no limit"),
        pytest.param(64, 1, 500, 58, id="what descriptors allow"),
        pytest.param(320, 1, 1024, 0, id="none to spare"),
        pytest.param(1, 1, 1024, 0, id="one at a time"),
    ],
)
def test_quiet_transfers_fit_in_the_limit_of_open_files(window: int, lanes: int, descriptors: int, most: int) -> None:
    assert _most_quiet(window, lanes, descriptors) == most
