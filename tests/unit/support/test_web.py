"""Row W's list, its ideal and its score: what a client is compared with must be right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.web.ideal import BACKOFF, RETRY_AFTER, TIMEOUT, ideal
from benchmarks.web.listing import FATED, HOSTS, LONGEST, SHORTEST, UNHAPPY, URLS, Fate, Host, Line, Listing, Wire, draw
from benchmarks.web.score import look

NEAR, FAR = Host(0, Wire.HTTP, 0.1), Host(1, Wire.TLS, 0.2)
SHARED = Host(2, Wire.HTTP2, 0.1)


def listing(*lines: tuple[Host, Fate], in_flight: int = 1) -> Listing:
    numbered = [Line(number, host, fate, 1_000, FAR) for number, (host, fate) in enumerate(lines)]
    return Listing([NEAR, FAR, SHARED], numbered, in_flight)


def good(*lines: tuple[Host, Fate], in_flight: int = 1) -> Sequence[float]:
    return [round(moment, 3) for moment in ideal(listing(*lines, in_flight=in_flight)).good]


def test_the_list_is_as_row_w_is_described() -> None:
    drawn = draw()

    hosts = Counter(line.host for line in drawn.lines)
    fates = Counter(line.fate for line in drawn.lines)
    assert (len(drawn.lines), len(hosts)) == (URLS, HOSTS)
    assert {fates[fate] for fate in UNHAPPY} == {round(URLS * FATED / 10)}
    assert {host.wire for host in hosts} == set(Wire)
    assert all(SHORTEST <= host.latency <= LONGEST for host in hosts)
    # Zipf: the first host has about twice as many as the second, and most have one or two.
    assert 1.5 < hosts[drawn.hosts[0]] / hosts[drawn.hosts[1]] < 2.7
    assert sum(count <= 2 for count in hosts.values()) > len(hosts) / 2
    assert len({line.url for line in drawn.lines}) == URLS
    assert len({host.address for host in drawn.hosts}) == HOSTS


@pytest.mark.parametrize(
    ("lines", "moments"),
    [
        ([(NEAR, Fate.GOOD)], [0.2]),  # TCP, and the answer
        ([(FAR, Fate.GOOD)], [0.6]),  # TCP, TLS, and the answer
        ([(NEAR, Fate.GOOD), (NEAR, Fate.GOOD)], [0.2, 0.3]),  # the connection is kept
        ([(NEAR, Fate.MISSING), (NEAR, Fate.GOOD)], [0.3]),
        ([(NEAR, Fate.MOVED)], [0.8]),
        ([(NEAR, Fate.ONCE)], [0.2 + BACKOFF + 0.1]),
        ([(NEAR, Fate.THROTTLED)], [0.2 + RETRY_AFTER + 0.1]),
        ([(NEAR, Fate.SILENT), (NEAR, Fate.GOOD)], [TIMEOUT + 0.2]),
        ([(NEAR, Fate.NAMELESS), (NEAR, Fate.GOOD)], [0.2]),
        ([(NEAR, Fate.REFUSED), (NEAR, Fate.GOOD)], [0.3]),
        ([(NEAR, Fate.CUT), (NEAR, Fate.GOOD)], [0.4]),
    ],
)
def test_one_slot_takes_as_long_as_the_link(lines: list[tuple[Host, Fate]], moments: list[float]) -> None:
    assert good(*lines) == [round(moment, 3) for moment in moments]


def test_slots_work_in_parallel_and_http2_shares_its_connection() -> None:
    two = ideal(listing((NEAR, Fate.GOOD), (NEAR, Fate.GOOD), in_flight=2))
    shared = ideal(listing((SHARED, Fate.GOOD), (SHARED, Fate.GOOD), in_flight=2))

    assert (two.good, two.connections) == ((0.2, 0.2), 2)
    assert ([round(moment, 3) for moment in shared.good], shared.connections) == ([0.3, 0.3], 1)


def test_files_in_a_folder_are_good_wrong_or_lost(tmp_path: Path) -> None:
    lines = listing(
        (NEAR, Fate.GOOD), (NEAR, Fate.ONCE), (NEAR, Fate.GOOD), (NEAR, Fate.CUT), (NEAR, Fate.GOOD),
        (NEAR, Fate.SILENT),
    ).lines  # fmt: skip
    bodies, output = tmp_path / "bodies", tmp_path / "out"
    bodies.mkdir()
    output.mkdir()
    for line in lines:
        (bodies / str(line.number)).write_bytes(b"right")
    for line, text in zip(lines, ("right", "right", "wrong", "half", "unfinished"), strict=False):
        (output / line.name).write_text(text)
    (output / f"{lines[4].name}.aria2").touch()

    found = look(lines, bodies, output)

    assert (len(found.moments), found.lost, found.wrong) == (2, 2, 2)
    assert found.at(0.5) == found.moments[1]
    assert found.at(0.9) is None
