"""Processes share what they know of throttling hosts, and one of them probes."""

from __future__ import annotations

import pytest
import redis

from contract.ledger.hosts import KEPT, News, exchange
from contract.records.hosts import HostState
from tests.support.clocked_ledger import ClockedLedger

HOST = "a.test:80"


def _tell(ledger: ClockedLedger, *states: HostState, change: int = 0, probes: tuple[str, ...] = ()) -> News:
    return exchange(ledger, change, states, probes)


def _paused(left: float, host: str = HOST, **fields: object) -> HostState:
    return HostState(host, left, **fields)  # type: ignore[arg-type]  # the state's own names


def test_a_pause_is_shared_with_the_seconds_left(ledger: ClockedLedger) -> None:
    told = _tell(ledger, _paused(300.0, streak=3, pace=2.5, asks=True))
    ledger.advance(100.0)

    news = _tell(ledger)

    assert told.states == []
    assert news.states == [_paused(200.0, streak=3, pace=2.5, asks=True)]


def test_known_changes_are_not_returned_again(ledger: ClockedLedger) -> None:
    _tell(ledger, _paused(300.0), _paused(20.0, "b.test:443"))
    first = _tell(ledger)
    _tell(ledger, _paused(0.0, "b.test:443", is_open=True))

    second = _tell(ledger, change=first.change)
    third = _tell(ledger, change=second.change)

    assert [state.host for state in first.states] == [HOST, "b.test:443"]
    assert second.states == [_paused(0.0, "b.test:443", is_open=True)]
    assert (third.states, third.change) == ([], second.change)


def test_many_changes_are_returned_in_parts(ledger: ClockedLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("contract.ledger.hosts._MOST", 2)
    for number in range(5):
        _tell(ledger, _paused(60.0, f"h{number}.test:80"))
    found: list[str] = []
    change = 0

    for _ in range(3):
        news = _tell(ledger, change=change)
        found += [state.host for state in news.states]
        change = news.change

    assert found == [f"h{number}.test:80" for number in range(5)]


def test_one_process_may_probe_until_its_time_is_over_or_there_is_news(ledger: ClockedLedger) -> None:
    _tell(ledger, _paused(10.0))

    granted = [_tell(ledger, probes=(HOST,)).granted for _ in range(3)]
    ledger.advance(31.0)
    later = _tell(ledger, probes=(HOST,)).granted
    _tell(ledger, _paused(20.0))
    after_news = _tell(ledger, probes=(HOST,)).granted

    assert granted == [[HOST], [], []]
    assert (later, after_news) == ([HOST], [HOST])


def test_an_emptied_redis_starts_over(ledger: ClockedLedger, client: redis.Redis) -> None:
    _tell(ledger, _paused(10.0))
    _tell(ledger, _paused(10.0))
    client.delete(ledger.keys.hosts, ledger.keys.host_changes)
    _tell(ledger, _paused(50.0))

    news = _tell(ledger, change=2)

    assert (news.change, news.states) == (1, [_paused(50.0)])


def test_no_state_is_kept_for_ever(ledger: ClockedLedger, client: redis.Redis) -> None:
    """Guards EXPIRE, and that the oldest states go while new ones come."""
    _tell(ledger, _paused(10.0, "first.test:80"), probes=("p.test:80",))
    assert client.ttl(ledger.keys.hosts) > 0
    assert client.ttl(ledger.keys.host_changes) > 0
    assert client.ttl(ledger.keys.host_probes) > 0
    for number in range(10):
        _tell(ledger, _paused(10.0, f"old{number}.test:80"), probes=("p.test:80",))
    ledger.advance(KEPT + 11.0)
    for number in range(10):
        _tell(ledger, _paused(400.0, f"new{number}.test:80"))

    assert client.zcard(ledger.keys.host_changes) == 10
    assert client.hlen(ledger.keys.hosts) == 11
    keys = [ledger.keys.hosts, ledger.keys.host_changes, ledger.keys.host_probes]
    assert all(0 < client.ttl(key) <= KEPT + 400 for key in keys)
    assert client.ttl(ledger.keys.hosts) > KEPT + 300


def test_an_unreadable_state_is_skipped(ledger: ClockedLedger, client: redis.Redis) -> None:
    _tell(ledger, _paused(10.0))
    client.hset(ledger.keys.hosts, HOST, b"99999999999999 {}")

    assert _tell(ledger).states == []
