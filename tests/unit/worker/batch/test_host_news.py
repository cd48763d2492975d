"""When a process exchanges what it knows of hosts, and what happens if the ledger does not answer."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import redis

from contract.ledger.hosts import News
from contract.records.hosts import HostState
from worker.batch.host_news import HostNews
from worker.engine.hosts import Hosts

KEY = "a.test:80"


class _Others:
    """What other processes know; ``asked`` is what came from this one."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, Sequence[HostState], Sequence[str]]] = []
        self.news = News(0, (), ())
        self.is_unreachable = False

    def __call__(self, change: int, states: Sequence[HostState], probes: Sequence[str]) -> News:
        self.asked.append((change, states, probes))
        if self.is_unreachable:
            raise redis.exceptions.ConnectionError
        news, self.news = self.news, News(self.news.change, (), ())
        return news


class _Process:
    def __init__(self) -> None:
        self.seconds = 0.0
        self.hosts = Hosts(lambda: 0.0)
        self.others = _Others()
        self.keeper = HostNews(self.hosts, self.others, lambda: self.seconds)

    def look(self, at: float) -> None:
        self.seconds = at
        self.keeper.look()

    def throttle(self) -> None:
        self.hosts.blame(KEY, "u", begun=self.seconds, asked=60.0, excused=inf, now=self.seconds)


def test_news_is_exchanged_rarely_and_every_second_while_a_host_throttles() -> None:
    process = _Process()
    for at in (0.0, 0.3, 1.2, 3.9, 4.0, 4.5):
        process.look(at)
    assert len(process.others.asked) == 2

    process.throttle()
    for at in (4.6, 5.0, 5.7):
        process.look(at)

    assert [[state.host for state in states] for _, states, _ in process.others.asked] == [[], [], [KEY], []]


def test_news_from_others_is_adopted_once() -> None:
    process = _Process()
    process.others.news = News(7, [HostState(KEY, 30.0)], ())
    process.look(0.0)
    process.look(1.0)

    assert process.hosts.may_start(KEY, 1.0) == 29.0
    assert process.others.asked[-1][0] == 7


def test_a_probe_that_is_granted_may_start() -> None:
    process = _Process()
    process.others.news = News(1, [HostState(KEY, 10.0)], ())
    process.look(0.0)
    process.others.news = News(1, (), [KEY])
    assert process.hosts.may_start(KEY, 10.5) > 0

    process.look(10.5)

    assert process.others.asked[-1][2] == [KEY]
    assert process.hosts.may_start(KEY, 10.6) == 0


def test_a_ledger_that_does_not_answer_loses_no_news_and_stops_no_probe() -> None:
    process = _Process()
    process.look(0.0)
    process.throttle()
    process.others.is_unreachable = True
    for at in (1.0, 7.0):
        process.look(at)
    assert process.hosts.may_start(KEY, 61.0) == 0, "by itself"

    process.others.is_unreachable = False
    process.look(62.0)

    assert [state.host for state in process.others.asked[-1][1]] == [KEY]
