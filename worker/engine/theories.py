"""The theories that explain throttling answers of a host that need not be paused.

**By URL**: certain URLs always get throttling answers. A throttling host does not look at the URL. So after a pause a
throttled URL is **tried**: requested together with a control, another URL that was not throttled. If the control is
answered and it is not, in two successive trials, the URL itself is the reason. The two go out in the other order the
next time, because some hosts answer only the first of two requests. Once several URLs of a host are proven so, further
throttled ones count as such at once. If such a URL is answered well after all, the conclusion is withdrawn.

**First requests**: the host throttles the first request for each URL, while it produces what that is for. New URLs are
throttled, those that were are answered, again and again. Then a new one waits by itself.
"""

from __future__ import annotations

from collections.abc import Collection

from worker.engine.trials import Trials

_CONVINCING = 2  # successive trials
_SEVERAL = 2  # proven URLs after which others count at once
_FIRSTS = 4  # new URLs throttled, each after a throttled one was answered, with no new one answered
_IN_A_ROW = 8  # new URLs throttled in a row after which the host is the reason after all


class Caution:
    """How much evidence the theories about a host need: each mistake of one doubles it for both."""

    __slots__ = ("_mistakes",)

    def __init__(self) -> None:
        self._mistakes = 0

    def need(self, usual: int) -> int:
        return usual << self._mistakes

    def note_mistake(self) -> None:
        self._mistakes += 1


class ByUrl:
    """The theory that a host throttles certain URLs, whenever they are requested.

    ``suspects`` are the names of the URLs that were throttled and not answered well since.
    """

    __slots__ = ("_alike", "_caution", "_in_a_row", "_is_told", "_proven", "_suspects", "trials")

    def __init__(self, suspects: Collection[str], caution: Caution) -> None:
        self._suspects = suspects
        self._caution = caution
        self.trials = Trials()
        self._is_told = False  # another process said so
        self._proven: set[str] = set()  # URLs proven to be the reason
        self._alike: set[str] = set()  # URLs that count as the reason because others are
        self._in_a_row = 0  # new URLs throttled with no good answer between

    @property
    def holds(self) -> bool:
        return self._is_told or len(self._proven) >= self._caution.need(_SEVERAL)

    def explains(self, name: str) -> bool:
        """Is this URL itself the reason that it is throttled?"""
        return name in self._proven or name in self._alike

    def believe(self) -> None:
        """Accept it from another process."""
        self._is_told = True

    def throttled_first(self, name: str, *, is_answering: bool) -> None:
        """Record a throttling answer to a new URL; ``is_answering``: others of the host are answered."""
        self._in_a_row += 1
        if self._in_a_row == _IN_A_ROW and self.holds:
            self.withdraw()
        elif self.holds and is_answering:
            self._alike.add(name)

    def throttled_again(self, name: str, *, is_telling: bool) -> None:
        """Record another throttling answer to a suspect; ``is_telling``: it proves the URL without trials."""
        if self.holds:
            self._alike.add(name)
        elif is_telling:
            self._proven.add(name)

    def answered(self, name: str) -> None:
        """Record a good answer."""
        self._in_a_row = 0
        if self.explains(name):
            self.withdraw()

    def withdraw(self) -> None:
        """Note a mistake."""
        self._caution.note_mistake()
        self.forget()

    def forget(self) -> None:
        """Start over without a conclusion."""
        self._is_told = False
        self._proven.clear()
        self._alike.clear()
        self.trials.acquit()

    @property
    def has_questions(self) -> bool:
        """Should a URL be tried after this pause?"""
        return self.trials.are_due and not self.holds and any(map(self.is_question, self._suspects))

    def is_question(self, name: str) -> bool:
        """Should this URL be tried?"""
        return name in self._suspects and not (self.explains(name) or name in self.trials.tried)

    def accuse(self, name: str) -> None:
        """Record a trial against a URL; enough of them in succession prove all that they were against."""
        self.trials.accuse(name)
        if self.trials.in_succession >= self._caution.need(_CONVINCING):
            self._proven |= self.trials.accused


class FirstRequests:
    """The theory that a host throttles the first request for each URL, and no other.

    ``suspects`` are the names of the URLs that were throttled and not answered well since.
    """

    __slots__ = ("_caution", "_has_again", "_suspects", "_times")

    def __init__(self, suspects: Collection[str], caution: Caution) -> None:
        self._suspects = suspects
        self._caution = caution
        self._times = 0  # new URLs throttled, each after a throttled one was answered
        self._has_again = False  # a throttled URL was answered since the last of those

    @property
    def holds(self) -> bool:
        return self._times >= self._caution.need(_FIRSTS)

    @property
    def is_likely(self) -> bool:
        """Does something point at it, and nothing against it?"""
        return self._times > 0

    def explains(self, name: str) -> bool:
        """Is a request for this URL throttled because it is the first one? To be asked before that is recorded."""
        return self.holds and name not in self._suspects

    def throttled_first(self) -> None:
        """Record a throttling answer to a new URL."""
        self._times += self._has_again
        self._has_again = False

    def throttled_again(self) -> None:
        """Record another throttling answer to a suspect, which refutes the theory."""
        self._times = 0

    def answered(self, *, was_suspect: bool) -> None:
        """Record a good answer."""
        if was_suspect:
            self._has_again = True
        elif not self.holds:
            self._times, self._has_again = 0, False
