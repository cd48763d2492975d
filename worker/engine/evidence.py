"""The evidence about a host's throttling answers: the host itself throttles, or a theory explains them."""

from __future__ import annotations

from dataclasses import dataclass

from worker.engine.theories import ByUrl, Caution, FirstRequests

_TELLING = 2  # answers that prove a URL for which there are no others to try it between
_PROBES = 2  # throttled in a row, for the same; a host that lets every second request through answers one of them
_PATIENT = 3  # new probes throttled in a row before a throttled URL probes
_MOST = 10_000  # URLs remembered of a host


@dataclass(slots=True)
class _Suspect:
    """When a URL was last throttled, and how often after good answers to others of its host."""

    at: float
    times: int = 0


class Evidence:
    """The evidence about one host; URLs are identified by name. Times are the clock's seconds."""

    __slots__ = ("_probes_in_a_row", "_suspects", "by_url", "first_requests")

    def __init__(self) -> None:
        self._suspects: dict[str, _Suspect] = {}  # URLs throttled and not answered well since
        self._probes_in_a_row = 0  # throttled ones, with no good answer between
        caution = Caution()
        self.by_url = ByUrl(self._suspects.keys(), caution)
        self.first_requests = FirstRequests(self._suspects.keys(), caution)

    @property
    def is_suspects_turn(self) -> bool:
        """Should the next probe be a URL that was throttled? Else all might wait for a host that throttles new ones."""
        probes = self._probes_in_a_row
        return self.first_requests.is_likely or (probes >= _PATIENT and probes % 2 == 1)

    def is_suspect(self, name: str) -> bool:
        """Was this URL throttled?"""
        return name in self._suspects

    def suspect(self, name: str, now: float) -> None:
        """Note that a URL was throttled, here or in another process."""
        if name in self._suspects:
            return
        if len(self._suspects) >= _MOST:
            self._suspects.clear()
            self.by_url.forget()
        self._suspects[name] = _Suspect(now)

    def throttled(self, name: str, good_at: float, now: float, *, is_answering: bool, is_probe: bool) -> None:
        """Record a throttling answer.

        ``good_at`` is when the host last answered well; ``is_answering``: it has done so since its last pause;
        ``is_probe``: this was the only request since the pause.
        """
        is_alone = is_probe and self._probes_in_a_row + 1 >= _PROBES and not self.is_suspects_turn
        self._probes_in_a_row += is_probe
        suspect = self._suspects.get(name)
        if suspect is None:
            self.suspect(name, now)
            self.first_requests.throttled_first()
            self.by_url.throttled_first(name, is_answering=is_answering)
            return
        if self.first_requests.holds:
            self.by_url.withdraw()  # the conclusion was about a host that throttles first requests
        self.first_requests.throttled_again()
        suspect.times += good_at > suspect.at
        suspect.at = now
        self.by_url.throttled_again(name, is_telling=is_alone and suspect.times >= _TELLING)

    def answered(self, name: str) -> None:
        """Record a good answer to a URL."""
        self._probes_in_a_row = 0
        self.first_requests.answered(was_suspect=self._suspects.pop(name, None) is not None)
        self.by_url.answered(name)
