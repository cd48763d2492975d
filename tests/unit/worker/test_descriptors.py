"""What a lane may have open beside its window, within the limit of descriptors."""

from __future__ import annotations

import pytest

from worker.downloader import _beside


@pytest.mark.parametrize(
    ("window", "descriptors", "kept", "quiet"),
    [
        pytest.param(64, 960, 256, 256, id="four windows"),
        pytest.param(64, 436, 64, 154, id="what descriptors allow"),
        pytest.param(62, 186, 62, 31, id="those of ulimit -n 256"),
        pytest.param(320, 640, 320, 0, id="none to spare"),
        pytest.param(8, 24, 8, 4, id="fewer connections are kept"),
        pytest.param(1, 960, 256, 0, id="one at a time"),
        pytest.param(1, 0, 1, 0, id="as few as can be"),
    ],
)
def test_connections_and_bodies_fit_in_the_limit_of_open_files(
    window: int, descriptors: int, kept: int, quiet: int
) -> None:
    """Guards the order: quiet transfers come before idle connections, or the window fills up with them."""
    assert _beside(window, descriptors) == (kept, quiet)
