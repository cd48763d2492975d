"""Decides whether a host throttles, or only certain URLs of it always get throttling answers.

A throttling host does not look at the URL. So after a pause a throttled URL is **tried**: requested together with a
control, another URL that was not throttled. If the control is answered and it is not, in two successive trials, the URL
itself is the reason. The two go out in the other order the next time, because some hosts answer only the first of two
requests. Once several URLs of a host are proven so, further throttled ones count as such at once. If such a URL is
answered well after all, the conclusion is withdrawn, and the next one needs more evidence.

Some hosts throttle each URL's **first** request only, while they produce what it is for: new URLs are throttled, those
that were are answered, again and again. Then a new one waits by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

_CONVINCING = 2  # successive trials; doubled each time the conclusion was wrong
_SEVERAL = 2  # proven URLs after which others count at once; doubled likewise
_TELLING = 2  # answers that prove a URL for which there are no others to try it between
_PROBES = 2  # throttled in a row, for the same; a host that lets every second request through answers one of them
_FIRSTS = 4  # new URLs throttled, each after a throttled one was answered, with no new one answered
_PATIENT = 3  # new probes throttled in a row before a throttled URL probes
_MOST_DOUBTS = 4  # pauses without a trial after as many trials that pointed at the host
_IN_A_ROW = 8  # new URLs throttled in a row after which the host is the reason after all
_MOST = 10_000  # URLs remembered of a host


@dataclass(slots=True)
class _Suspect:
    """When a URL was last throttled, and how often after good answers to others of its host."""

    at: float
    times: int = 0


class Evidence:
    """The evidence about one host; URLs are identified by name. Times are the clock's seconds."""

    __slots__ = (
        "_accused", "_alike", "_doubts", "_firsts", "_has_again", "_in_a_row", "_in_succession", "_is_told", "_pauses",
        "_probes_in_a_row", "_proven", "_suspects", "_tried", "_wrong",
    )  # fmt: skip

    def __init__(self) -> None:
        self._suspects: dict[str, _Suspect] = {}  # URLs throttled and not answered well since
        self._accused: set[str] = set()  # by the last trials
        self._in_succession = 0  # number of those trials
        self._proven: set[str] = set()  # URLs proven to be the reason by trials
        self._alike: set[str] = set()  # URLs that count as the reason because others are
        self._tried: set[str] = set()  # since the last pause
        self._doubts = 0  # successive trials that pointed at the host
        self._pauses = 0  # since the last of them
        self._wrong = 0  # how often a conclusion was withdrawn
        self._is_told = False  # another process said so
        self._in_a_row = 0  # new URLs throttled with no good answer between
        self._probes_in_a_row = 0  # likewise
        self._firsts = 0
        self._has_again = False  # a throttled URL was answered since the last of those

    @property
    def is_by_url(self) -> bool:
        """Does the host throttle by URL?"""
        return self._is_told or len(self._proven) >= _SEVERAL << min(self._wrong, 30)

    @property
    def is_by_first(self) -> bool:
        """Does the host throttle the first requests for its URLs?"""
        return self._firsts >= _FIRSTS << min(self._wrong, 30)

    @property
    def is_suspects_turn(self) -> bool:
        """Should the next probe be a URL that was throttled? Else all might wait for a host that throttles new ones."""
        return self._firsts > 0 or (self._probes_in_a_row >= _PATIENT and self._probes_in_a_row % 2 == 1)

    def believe(self) -> None:
        """Accept another process's finding that the host throttles by URL."""
        self._is_told = True

    def is_suspect(self, name: str) -> bool:
        """Was this URL throttled?"""
        return name in self._suspects

    def suspect(self, name: str, now: float) -> None:
        """Note that a URL was throttled, here or in another process."""
        if name in self._suspects:
            return
        if len(self._suspects) >= _MOST:
            self._suspects.clear()
            self._forget()
        self._suspects[name] = _Suspect(now)

    def is_own(self, name: str, good_at: float, now: float, *, is_open: bool, is_probe: bool) -> bool:
        """Record a throttling answer; return whether the URL itself is the reason.

        ``good_at`` is when the host last answered well; ``is_open``: it has done so since its last pause; ``is_probe``:
        this was the only request since the pause.
        """
        suspect = self._suspects.get(name)
        is_alone = is_probe and self._probes_in_a_row + 1 >= _PROBES and not self.is_suspects_turn
        self._probes_in_a_row += is_probe
        if suspect is None:
            self.suspect(name, now)
            self._firsts += self._has_again
            self._has_again = False
            self._in_a_row += 1
            if self._in_a_row == _IN_A_ROW and self.is_by_url:
                self._be_wrong()
            elif self.is_by_url and is_open:
                self._alike.add(name)
        else:
            if self.is_by_first:
                self._be_wrong()
            self._firsts = 0
            suspect.times += good_at > suspect.at
            suspect.at = now
            if self.is_by_url:
                self._alike.add(name)
            elif is_alone and suspect.times >= _TELLING:
                self._proven.add(name)
        return name in self._proven or name in self._alike

    def answered(self, name: str) -> None:
        """Record a good answer to a URL."""
        self._in_a_row = self._probes_in_a_row = 0
        if name not in self._suspects:
            if not self.is_by_first:
                self._firsts, self._has_again = 0, False
            return
        self._has_again = True
        del self._suspects[name]
        self._tried.discard(name)
        if name in self._proven or name in self._alike:
            self._be_wrong()

    # ---------------------------------------------------------------------------------------------- trials

    @property
    def has_questions(self) -> bool:
        """Should a URL be tried after this pause?"""
        is_time = self._pauses >= min(self._doubts, _MOST_DOUBTS)
        return is_time and not self.is_by_url and len(self._suspects) > len(self._proven | self._alike | self._tried)

    @property
    def is_odd(self) -> bool:
        """Is the number of successive trials against URLs odd? Then the next one requests the control first."""
        return self._in_succession % 2 == 1

    def is_question(self, name: str) -> bool:
        """Should this URL be tried?"""
        return name in self._suspects and not (name in self._proven or name in self._alike or name in self._tried)

    def pause(self) -> None:
        """Note a pause, after which all URLs may be tried again."""
        self._tried.clear()
        self._pauses += 1

    def note_trial(self, name: str) -> None:
        """Note that a tried URL was throttled again."""
        self._tried.add(name)

    def accuse(self, name: str) -> None:
        """Record a trial against a URL: its control was answered well."""
        self._doubts = 0
        self._accused.add(name)
        self._in_succession += 1
        if self._in_succession >= _CONVINCING << min(self._wrong, 30):
            self._proven |= self._accused

    def acquit(self) -> None:
        """Record a trial without result: the URL was answered well."""
        self._accused.clear()
        self._in_succession = 0

    def doubt(self) -> None:
        """Record a trial that points at the host: the other URL was throttled as well."""
        self.acquit()
        self._pauses = 0
        self._doubts += 1

    def _be_wrong(self) -> None:
        self._wrong += 1
        self._forget()

    def _forget(self) -> None:
        for names in (self._accused, self._proven, self._alike, self._tried):
            names.clear()
        self._in_succession = 0
        self._is_told = False
