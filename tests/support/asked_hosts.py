"""What lanes ask and report of one host, at times that a test chooses."""

from __future__ import annotations

from math import inf

from worker.engine.hosts import Hosts

KEY = "a.test:80"


def unknown_hosts(chance: float = 0.0) -> Hosts:
    """Return hosts of which nothing is known yet; ``chance`` (0 to 1) is how much of the jitter is added to pauses."""
    return Hosts(lambda: chance)


def blame(
    hosts: Hosts, url: str, now: float, *, begun: float | None = None, asked: float | None = None, excused: float = inf
) -> bool:
    """Report a throttling answer to a request ``begun`` then, or just now."""
    return hosts.blame(KEY, url, begun=now if begun is None else begun, asked=asked, excused=excused, now=now)


def left(hosts: Hosts, now: float) -> float:
    """Return the seconds left of the host's pause."""
    pause = hosts.pause(KEY, now)
    return 0.0 if pause is None else pause.left


def incident(hosts: Hosts) -> None:
    """Have the host throttle three URLs at second 1."""
    for url in "abc":
        blame(hosts, url, 1.0)


def probe(hosts: Hosts) -> float:
    """Probe when the pause is over; return when that is."""
    pause = hosts.pause(KEY, 0.0)
    assert pause is not None
    assert hosts.may_start(KEY, pause.left) == 0
    return pause.left


def starts(hosts: Hosts, now: float) -> int:
    """Count the requests that may start within a second, if each is answered at once."""
    count = 0
    for step in range(200):
        moment = now + step / 200
        if hosts.may_start(KEY, moment) == 0:
            count += 1
            hosts.answered(KEY, moment, moment)
    return count
