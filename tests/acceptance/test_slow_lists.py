"""The scenarios of `./trawl bench slow`, small: what they count must be right on any machine, whatever it takes."""

from __future__ import annotations

import pytest

from benchmarks.slow import command


@pytest.mark.parametrize(
    "scenario",
    ["hangs", "drips", "refusing-hosts", "throttled-asks", "dead-site", "neighbours", "blocked-in-front", "stopping"],
)
def test_what_is_slow_waits_by_itself(scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    failed = command.main(["--scenario", scenario, "--scale", "0.03"])

    assert not failed, capsys.readouterr().out
