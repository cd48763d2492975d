"""A pool that cannot run batches is refused when the worker starts, in one sentence."""

import select

import pytest

from worker.pools import patch_trouble, pool_trouble


@pytest.mark.parametrize(
    ("pools", "is_autoscaled", "words"),
    [
        ("prefork processes threads thread solo", False, "None"),
        ("prefork processes", True, "None"),
        ("threads thread solo", True, "leave --autoscale out"),
        ("eventlet", False, "use prefork"),
        ("gevent", False, "`-P gevent`"),  # Celery loaded it too late
    ],
)
def test_a_pool_that_cannot_run_batches_is_refused(pools: str, is_autoscaled: bool, words: str) -> None:
    for pool in pools.split():
        assert words in str(pool_trouble(pool, is_autoscaled=is_autoscaled)), pool


def test_anything_that_removes_poll_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert patch_trouble() is None

    monkeypatch.delattr(select, "poll")  # what eventlet.monkey_patch() does

    assert "eventlet" in str(patch_trouble())
