"""Some servers that lie about ranges; ``python -m tests.fuzz ranges`` runs any number of them."""

from __future__ import annotations

from tests.fuzz.ranges import in_virtual_time, over_sockets


def test_no_lying_server_gets_a_wrong_file_published() -> None:
    """Guards ``ends`` in Exchange and how a response with another end is handled: 20 files of 1,000 were wrong."""
    found = in_virtual_time(servers=600, seed=1)

    assert found.wrong == []
    assert found.counts["resumed"] > 100
    assert found.counts["splits"] > 10


def test_no_lying_server_does_so_over_sockets() -> None:
    found = over_sockets(servers=25, seed=1)

    assert found.wrong == []
    assert found.counts["resumed"] > 0
