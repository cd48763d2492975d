"""Small versions of `./trawl bench slow`: what they count must be right on any machine, however long it takes."""

from __future__ import annotations

import pytest

from benchmarks.slow import command


@pytest.mark.parametrize(
    "scenario",
    ["hangs", "drips", "refusing-hosts", "throttled-asks", "dead-site", "neighbours", "blocked-in-front", "stopping"],
)
def test_only_slow_urls_wait(scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    failed = command.main(["--scenario", scenario, "--scale", "0.03"])

    assert not failed, capsys.readouterr().out
