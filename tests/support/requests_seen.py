"""What a test's server saw: every connection and request, and a way to wait for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from tests.support.processes import PATIENCE


@dataclass(slots=True)
class SeenRequest:
    """One request as it came off the wire; header names are in lower case."""

    target: str
    headers: tuple[tuple[str, str], ...]
    query: dict[str, str]
    visit: int  # how often this target was asked for, this time included
    turn: int  # which request of its connection it is, from 1 on
    sent: int = 0  # bytes of the answer handed to the kernel so far, its head included
    is_over: bool = False  # the answer is complete or was broken off

    @property
    def path(self) -> str:
        """The target without its query."""
        return urlsplit(self.target).path

    @property
    def case(self) -> str:
        """The key of the case this request belongs to; it travels in the query, through redirects too."""
        return self.query.get("case", "")

    def header(self, name: str) -> str | None:
        """Return the first header of that name, or None."""
        return next((value for known, value in self.headers if known == name.lower()), None)


class RequestLog:
    """A thread-safe record shared by servers and the test that asserts on it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._requests: list[SeenRequest] = []
        self._visits: dict[str, int] = {}
        self.let_go = threading.Event()  # set by a test: /held waits for it, /thinks thinks no more

    # ---- for assertions

    def requests(self, *, case: str | None = None, path: str | None = None) -> list[SeenRequest]:
        """Return the requests seen, oldest first; only those of a case or a path if given."""
        with self._changed:
            return [each for each in self._requests if case in (None, each.case) and path in (None, each.path)]

    def wait_for_requests(self, count: int, timeout: float = 30.0, *, path: str | None = None) -> None:
        """Return once there are at least `count`; raise TimeoutError after PATIENCE times `timeout` seconds."""
        self.wait_until(lambda: len(self.requests(path=path)) >= count, timeout, what=f"{count} requests")

    def wait_until(self, look: Callable[[], object], timeout: float = 30.0, *, what: str = "the condition") -> None:
        """Return once `look()` is true, asked after every change; raise TimeoutError after PATIENCE times that."""
        with self._changed:
            if not self._changed.wait_for(look, PATIENCE * timeout):
                raise TimeoutError(f"{what}: not within {PATIENCE * timeout:g} s; seen: {self._requests}")

    def await_quiet(self, seconds: float) -> int:
        """Return how many requests there were once none has come for so long."""
        seen = -1

        def has_changed() -> bool:
            return len(self._requests) != seen

        with self._changed:
            while has_changed():
                seen = len(self._requests)
                self._changed.wait_for(has_changed, seconds)
        return seen

    def clear(self) -> None:
        """Forget all requests and visits."""
        with self._changed:
            self._requests.clear()
            self._visits.clear()

    # ---- for servers

    def asked(self, target: str, headers: tuple[tuple[str, str], ...], turn: int) -> SeenRequest:
        """Note a request."""
        with self._changed:
            visit = self._visits[target] = self._visits.get(target, 0) + 1
            query = dict(parse_qsl(urlsplit(target).query, keep_blank_values=True))
            seen = SeenRequest(target, headers, query, visit, turn)
            self._requests.append(seen)
            self._changed.notify_all()
            return seen

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the log while changing what it has handed out; those who wait look again afterwards."""
        with self._changed:
            yield
            self._changed.notify_all()
