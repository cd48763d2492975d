"""Real processes are killed at random, and every line still ends once, with the right bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.site import Site
from tests.chaos.source import Source
from tests.chaos.storm import Storm

KILLS = 60


@pytest.mark.timeout(1500)  # 50 s on two cores that are busy with something else
def test_sixty_kills_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    """``make chaos N=1000`` is the long form; ``--no-sweep`` shows that this can fail."""
    with Source(delay=0.05, hosts=4) as source, Site(tmp_path, lease=2.0) as site:
        storm = Storm(site, source, kills=KILLS, seed=4, urls=1500, batch_size=10, pause=0.2, without=("flower",))
        tally = storm.run(tmp_path)
        storm.settle()

    assert tally.kills >= KILLS
    assert tally.is_good, "\n".join(tally.lines())
