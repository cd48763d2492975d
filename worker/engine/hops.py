"""The redirects of one attempt: the requests so far, and the cookies they set."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from contract.records.outcomes import ErrorClass
from contract.urls.lines import Parsed
from worker.engine.failures import Failure, Kind
from worker.engine.http.cookies import CookieJar, with_cookies
from worker.engine.http.headers import values_of
from worker.engine.http.redirects import Asked, DeadEnd, next_hop
from worker.engine.http.verdict import Redirected


class Hops:
    """Belongs to one attempt."""

    __slots__ = ("_cookies", "_trail", "is_downgraded", "start")

    def __init__(self, start: Parsed) -> None:
        self.start = start
        self._trail: list[Asked] = []  # the redirected requests
        self._cookies: CookieJar | None = None  # set by those redirects
        self.is_downgraded = False  # one of them led from https to http

    def __len__(self) -> int:
        return len(self._trail)

    def follow(
        self, url: Parsed, redirected: Redirected, lines: Sequence[bytes], *, wall: float, longest: int
    ) -> Parsed | Failure:
        """Return the target of a redirect of a request to ``url``; its header ``lines`` may set cookies.

        ``wall`` is the time in Unix seconds; a chain of more than ``longest`` hops is a failure.
        """
        location = redirected.location
        raw = None if location is None else location.encode("latin-1", "replace")
        trail = [*self._trail, Asked(url.target, self._cookies_for(url, wall))]
        self._store_cookies(lines, url, wall)
        cookies_for = partial(self._cookies_for, wall=wall)
        hop = next_hop(trail, redirected.status, raw, cookies_for=cookies_for, longest=longest)
        if isinstance(hop, DeadEnd):
            kind = Kind.REFUSED if hop.error is ErrorClass.REFUSED_URL else Kind.PERMANENT
            return Failure(error=hop.error, kind=kind, detail=hop.detail, status=redirected.status)
        self._trail = trail
        self.is_downgraded = self.is_downgraded or hop.downgraded
        return hop.to

    def fields(self, own: Sequence[str], url: Parsed, wall: float) -> tuple[str, ...]:
        """Return the user's ``own`` header lines for a request, with the chain's cookies for it."""
        return with_cookies(own, self._cookies_for(url, wall))

    def _store_cookies(self, lines: Sequence[bytes], url: Parsed, wall: float) -> None:
        fields = values_of("set-cookie", lines)
        if fields:
            if self._cookies is None:
                self._cookies = CookieJar()
            self._cookies.store(fields, url, wall)

    def _cookies_for(self, url: Parsed, wall: float) -> str:
        return "" if self._cookies is None else self._cookies.field_for(url, wall)
