"""A pool that cannot run batches is refused when the worker starts, in one sentence."""

import select

import pytest

from worker.pools import patch_trouble, pool_trouble


@pytest.mark.parametrize("pool", ["prefork", "processes", "threads", "thread", "solo"])
def test_pools_that_run_batches_are_taken(pool: str) -> None:
    assert pool_trouble(pool, is_autoscaled=False) is None


@pytest.mark.parametrize("pool", ["prefork", "processes"])
def test_processes_may_be_autoscaled(pool: str) -> None:
    assert pool_trouble(pool, is_autoscaled=True) is None


@pytest.mark.parametrize("pool", ["threads", "thread", "solo"])
def test_pools_that_cannot_grow_are_not_autoscaled(pool: str) -> None:
    assert "leave --autoscale out" in str(pool_trouble(pool, is_autoscaled=True))


def test_eventlet_is_refused_by_name() -> None:
    assert "use prefork" in str(pool_trouble("eventlet", is_autoscaled=False))


def test_whatever_takes_poll_away_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert patch_trouble() is None

    monkeypatch.delattr(select, "poll")  # what eventlet.monkey_patch() does

    assert "eventlet" in str(patch_trouble())


def test_gevent_is_refused_where_celery_loaded_it_too_late() -> None:
    assert "`-P gevent`" in str(pool_trouble("gevent", is_autoscaled=False))
