"""Row W of the benchmarks, small: `./trawl bench web` runs, and whatever it takes, every good body is stored."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.web.command import parser, race
from tests.support import netbox


def test_every_good_body_of_a_list_as_the_web_is_is_stored(capfd: pytest.CaptureFixture[str]) -> None:
    if shutil.which("nginx") is None or not Path("/dev/net/tun").exists():
        pytest.skip("needs nginx and a TUN device")
    if reason := netbox.why_not():
        pytest.skip(reason)
    told = parser().parse_args(["--scale", "0.02", "--clients", "trawl", "--no-write"])

    failed = netbox.call(race, told, nameserver="127.0.0.1", timeout=600.0)

    assert not failed, capfd.readouterr().out
