"""Whether a host throttles, or single URLs of it are answered like that whenever they are asked for.

A host that throttles takes no notice of the URL. So after a pause a URL that was throttled is **tried**: asked for
alone, between two others that were not. If these are answered and it is not, and so again, with no trial between them
that ended otherwise, it is the reason itself. Once several URLs of a host are, others are taken to be like them at
once. What is wrong of that shows when such a URL is answered well after all: it is withdrawn, and takes more evidence
the next time.
"""

from __future__ import annotations

from dataclasses import dataclass

_CONVINCING = 2  # trials in succession, and twice as many each time that a URL was wrongly taken for the reason
_SEVERAL = 2  # URLs that make others like them, and twice as many likewise
_TELLING = 2  # times, of a URL there is no other one beside to be tried between
_MOST_DOUBTS = 4  # pauses without a trial, after as many that told of the host
_IN_A_ROW = 8  # new URLs throttled without a good answer among them: it is the host after all
_MOST = 10_000  # URLs remembered of a host


@dataclass(slots=True)
class _Suspect:
    """When a URL was throttled last, and how often after others of its host had been answered well meanwhile."""

    at: float
    times: int = 0


class Evidence:
    """What tells of one host; URLs go by their names. Times are the clock's seconds."""

    __slots__ = (
        "_accused", "_alike", "_doubts", "_in_a_row", "_in_succession", "_is_told", "_pauses", "_proven", "_suspects",
        "_tried", "_wrong",
    )  # fmt: skip

    def __init__(self) -> None:
        self._suspects: dict[str, _Suspect] = {}  # URLs that were throttled, and not answered well since
        self._accused: set[str] = set()  # by the last trials
        self._in_succession = 0  # of these
        self._proven: set[str] = set()  # the reason themselves, by what came of trials
        self._alike: set[str] = set()  # by what came of others
        self._tried: set[str] = set()  # since the last pause
        self._doubts = 0  # trials in succession that told of the host
        self._pauses = 0  # since the last of them
        self._wrong = 0  # times that a URL was answered well after all, or all of them were throttled
        self._is_told = False  # by another process
        self._in_a_row = 0

    @property
    def is_by_url(self) -> bool:
        """Does it throttle by URL?"""
        return self._is_told or len(self._proven) >= _SEVERAL << min(self._wrong, 30)

    def believe(self) -> None:
        """Another process found that it throttles by URL."""
        self._is_told = True

    def is_suspect(self, name: str) -> bool:
        """Was this URL throttled?"""
        return name in self._suspects

    def suspect(self, name: str, now: float) -> None:
        """A URL was throttled, here or in another process."""
        if name in self._suspects:
            return
        if len(self._suspects) >= _MOST:
            self._suspects.clear()
            self._forget()
        self._suspects[name] = _Suspect(now)

    def is_own(self, name: str, good_at: float, now: float, *, is_open: bool, is_probe: bool) -> bool:
        """Take a throttling answer: is the URL itself the reason?

        ``good_at`` is when the host last answered well; ``is_open``: it does so since its last pause; ``is_probe``:
        nothing else was asked since the pause.
        """
        suspect = self._suspects.get(name)
        if suspect is None:
            self.suspect(name, now)
            self._in_a_row += 1
            if self._in_a_row == _IN_A_ROW and self.is_by_url:
                self._be_wrong()
            elif self.is_by_url and is_open:
                self._alike.add(name)
        else:
            suspect.times += good_at > suspect.at
            suspect.at = now
            if self.is_by_url:
                self._alike.add(name)
            elif is_probe and suspect.times >= _TELLING:
                self._proven.add(name)
        return name in self._proven or name in self._alike

    def answered(self, name: str) -> None:
        """A URL was answered well."""
        self._in_a_row = 0
        if name not in self._suspects:
            return
        del self._suspects[name]
        self._tried.discard(name)
        if name in self._proven or name in self._alike:
            self._be_wrong()

    # ---------------------------------------------------------------------------------------------- trials

    @property
    def has_questions(self) -> bool:
        """Is there a URL to be tried after this pause?"""
        is_time = self._pauses >= min(self._doubts, _MOST_DOUBTS)
        return is_time and not self.is_by_url and len(self._suspects) > len(self._proven | self._alike | self._tried)

    def is_question(self, name: str) -> bool:
        """Is this a URL to be tried?"""
        return name in self._suspects and not (name in self._proven or name in self._alike or name in self._tried)

    def pause(self) -> None:
        """The host is paused: thereafter all may be tried again."""
        self._tried.clear()
        self._pauses += 1

    def note_trial(self, name: str) -> None:
        """A URL that was tried was throttled again."""
        self._tried.add(name)

    def accuse(self, name: str) -> None:
        """A trial tells against a URL: others were answered well, before and after it was throttled."""
        self._doubts = 0
        self._accused.add(name)
        self._in_succession += 1
        if self._in_succession >= _CONVINCING << min(self._wrong, 30):
            self._proven |= self._accused

    def acquit(self) -> None:
        """A trial tells nothing: the URL was answered well."""
        self._accused.clear()
        self._in_succession = 0

    def doubt(self) -> None:
        """A trial tells of the host: the URL that was asked for with it was throttled as well."""
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
