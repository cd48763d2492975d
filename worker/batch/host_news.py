"""Exchanges news about throttling hosts with other processes, through the ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from contract.cluster.broker import UNREACHABLE
from contract.ledger.hosts import News
from contract.records.hosts import HostState
from worker.engine.hosts import Hosts

# Seconds between two exchanges: while no host throttles, while one does, and with news of our own.
_LONGEST_PAUSE, _LOOK_PAUSE, _SHORTEST_PAUSE = 4.0, 1.0, 0.2
_BELIEVED_FOR = 5.0  # seconds without an answer until this process probes hosts without asking


class HostNews:
    """``exchange`` sends the last change known, our states and the hosts to probe; see ``contract.ledger.hosts``."""

    def __init__(
        self,
        hosts: Hosts,
        exchange: Callable[[int, Sequence[HostState], Sequence[str]], News],
        now: Callable[[], float],
    ) -> None:
        self._hosts = hosts
        self._exchange = exchange
        self._now = now
        self._change = 0
        self._looked = self._heard = float("-inf")

    def look(self) -> None:
        """Exchange news if it is time to. If the ledger is unreachable, a later call tries again."""
        now = self._now()
        if now - self._looked < self._pause():
            return
        self._looked = now
        states, probes = self._hosts.news(now)
        try:
            news = self._exchange(self._change, states, probes)
        except UNREACHABLE:
            self._hosts.keep_news(states)
            self._hosts.is_governed = now - self._heard < _BELIEVED_FOR
            return
        self._apply(news)

    def _pause(self) -> float:
        if self._hosts.has_news:
            return _SHORTEST_PAUSE
        return _LOOK_PAUSE if self._hosts.hot else _LONGEST_PAUSE

    def _apply(self, news: News) -> None:
        self._heard = now = self._now()
        self._change, self._hosts.is_governed = news.change, True
        for state in news.states:
            self._hosts.learn(state, now)
        for host in news.granted:
            self._hosts.grant(host, now)
