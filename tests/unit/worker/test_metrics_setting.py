"""TRAWL_METRICS is a place on this machine, loopback unless another is written out."""

from __future__ import annotations

import pytest

from contract.errors import SettingError
from worker.settings import WorkerSettings


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("9108", ("127.0.0.1", 9108)),
        ("127.0.0.1:9108", ("127.0.0.1", 9108)),
        ("localhost:9108", ("127.0.0.1", 9108)),
        ("[::1]:9108", ("::1", 9108)),
        ("0.0.0.0:9108", ("0.0.0.0", 9108)),
        ("[::]:9108", ("::", 9108)),
    ],
)
def test_a_place_is_an_address_and_a_port(written: str, place: tuple[str, int]) -> None:
    assert WorkerSettings.from_environment({"TRAWL_METRICS": written}).metrics_place() == place


def test_there_is_none_unless_it_is_set() -> None:
    assert WorkerSettings.from_environment({"TRAWL_METRICS": ""}).metrics_place() is None


@pytest.mark.parametrize(
    "written",
    [":9108", "*:9108", "metrics.test:9108", "0", "65536", "127.0.0.1", "127.0.0.1:", "http://127.0.0.1:1", "on"],
)
def test_what_is_no_place_is_one_sentence(written: str) -> None:
    """Above all `:9108`, which means every address of the machine to many programs."""
    with pytest.raises(SettingError, match=r"^TRAWL_METRICS must be .*\.$"):
        WorkerSettings(metrics=written).metrics_place()
