"""One request and its response: what is requested, and what arrives while it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from contract.records.outcomes import ErrorClass
from worker.engine.digests import Hasher
from worker.engine.failures import Breakage, Failure, Kind, bug
from worker.engine.http.headers import Head, read_head
from worker.engine.http.ranges import Part, continues, is_whole_already, span_of
from worker.engine.http.verdict import LONGEST_DISCARD, Reception, bad_response, of_status, too_large
from worker.engine.ports import BodyTooLargeError, DiskTrouble, Draft, Ended, NoSpaceError, Request
from worker.engine.terms import Terms

SPACE_WAIT = 30.0  # seconds until a body without space on the disk is tried again; each try is a request

_GO_ON = None
_STOP = -1
NOT_ENDED = Ended()


class Exchange:
    """Implements ``worker.engine.ports.Body``: checks the bytes as they arrive, writes them, and stops if it must."""

    __slots__ = (
        "_asked", "_begun", "_bound", "_hasher", "_name", "_terms", "began", "draft", "ended", "ends", "enough",
        "head", "is_helper", "is_ranged", "is_unfit", "is_unseen", "lines", "offset", "request", "size", "stopped",
        "until",
    )  # fmt: skip

    def __init__(
        self,
        terms: Terms,
        request: Request,
        name: str,
        began: float,
        asked: Part | None = None,
        until: int | None = None,
        begun: Callable[[Exchange], None] | None = None,
    ) -> None:
        """The body is stored as ``name``; ``asked`` is the part that the request continues. With ``until`` the exchange
        is a helper, whose range ends there.

        ``begun`` is called when the body has a draft; it may leave the rest of the body to helpers.
        """
        self._terms = terms
        self._name = name
        self._asked = asked
        self._begun = begun
        self._hasher: Hasher | None = None
        self._bound = -1  # up to this offset bytes are written without further checks
        self.request = request
        self.began = began
        self.lines: Sequence[bytes] = ()  # header lines of the response, as they arrive
        self.head: Head | None = None
        self.draft: Draft | None = None
        self.offset = 0  # of its first byte in the body
        self.size = 0  # bytes of the body so far, including those of earlier exchanges
        self.ends: int | None = None  # offset at which the response ends by its Content-Range, whatever the framing
        self.until = until  # offset at which it may stop, because helpers fetch the rest
        self.is_helper = until is not None
        self.is_ranged = False  # the response is exactly the requested range
        self.is_unfit = False  # the response to the range is useless: request the whole body
        self.is_unseen = False  # a reset of its stream may have cut the body: repeat the request, watched
        self.enough = False
        self.stopped: Failure | None = None
        self.ended = NOT_ENDED

    # ------------------------------------------------------------------------------------------ while it runs

    def write(self, data: bytes, is_watched: bool) -> int | None:
        try:
            if self.head is None and not self._open(is_watched):
                return _STOP
            start = self.size
            end = start + len(data)
            if end > self._bound or self.draft is None:
                return self._write_last(data)
            self.size = end
            self.draft.write(data, start)
            if self._hasher is not None:
                self._hasher.update(data)
            return _GO_ON
        except DiskTrouble as trouble:
            return self._stop(local_trouble(trouble))
        except BodyTooLargeError as error:
            return self._stop(Failure(error=ErrorClass.TOO_LARGE, kind=Kind.LIMIT, detail=str(error)))
        except BaseException as error:  # libcurl would swallow it and report error 23
            return self._stop(bug(error))

    @property
    def received(self) -> int:
        """Body bytes of this exchange, which start at ``offset``."""
        return self.size - self.offset

    def seen_bytes(self) -> int:
        """Return the bytes that arrived, to tell whether it is quiet: complete header lines count."""
        return self.received or sum(map(len, self.lines))

    def is_answered(self) -> bool:
        """Does the status alone decide the outcome? A body that follows is not wanted."""
        if self.draft is not None or not self.lines:
            return False
        head = self.head or read_head(self.lines)
        return head is not None and head.status not in (206, 416) and of_status(head, 0.0) is not None

    def stop(self, failure: Failure | None = None) -> None:
        """Receive no more; ``failure`` says why, if it failed."""
        if failure is None:
            self.enough = True
        else:
            self.stopped = failure

    def leave_rest_from(self, until: int | None) -> None:
        """Stop at this offset of the body, because others fetch the rest; None: continue to the end."""
        self.until = until
        self._bound = self._next_bound()

    # --------------------------------------------------------------------------------------------- at its end

    def end(self, ended: Ended) -> Reception:
        """Take the result from the adapter, and return the facts to judge.

        Parses the header block if no body byte did, and compares a range with its length.
        """
        self.ended, self.lines, self._begun = ended, ended.lines, None
        head, stopped = self.head, self.stopped or ended.stopped
        if head is None:
            head = self._read_late(ended)
        breakage = None if self.enough else ended.breakage
        due, received = self._due(head), self.size - self.offset
        if self.is_ranged and breakage is None and stopped is None and not self.enough:
            # Nothing broke, so it is unknown which bytes are missing.
            self.is_unfit = received != due
        if ended.refusals:
            stopped = _refusal(ended) or stopped
        return Reception(head, received, due, breakage, ended.detail, stopped, self.ends is not None, self.enough)

    @property
    def is_stale(self) -> bool:
        """Did it fail because every pooled connection it tried was dead?"""
        return self.ended.breakage is Breakage.STALE and not self.request.is_fresh

    def finish(self, size: int) -> tuple[Draft, str | None]:
        """Close the file of a complete body, and return it with its digest, if that was computed on arrival.

        Raises:
            DiskTrouble: the draft is incomplete.
        """
        draft = self.draft
        if draft is None:  # an empty body has no bytes to write
            assert self.head is not None
            draft = self.draft = self._terms.store.open(self._name, self.head)
            self._hasher = self._terms.start_hash() if self._terms.start_hash is not None else None
        digest = self._hasher.hexdigest() if self._hasher is not None else None
        draft.finish(size)
        self.draft = None
        return draft, digest

    def hand_over(self) -> Draft | None:
        """Return its file, which then belongs to the caller."""
        draft, self.draft = self.draft, None
        return draft

    def discard(self) -> None:
        """Discard its draft, if it has one."""
        if self.draft is not None:
            self.draft.discard()
            self.draft = None

    # ------------------------------------------------------------------------------------------------- inside

    def _read_late(self, ended: Ended) -> Head | None:
        """Read the header block of a response without a body."""
        self.head = head = read_head(ended.lines)
        if head is not None:
            if self._asked is not None or head.status == 206:
                self._compare(head)
            self.is_unseen = not ended.is_watched and self._ends_unseen(head)
        return self.head

    def _open(self, is_watched: bool) -> bool:
        """Parse the header block at the first body byte and decide where the body goes."""
        self.head = head = read_head(self.lines)
        if head is None:
            self._stop(bad_response("A body arrived before its header block ended."))
            return False
        if self._asked is not None or head.status == 206:
            self._compare(head)
            if self.is_unfit or self.enough:
                self.enough = True
                return False
        if of_status(head, 0.0, self.ends is not None) is not None:
            return True  # an unwanted body
        due, terms = self._due(head), self._terms
        self._bound = most = terms.policy.max_size
        if due is not None and self.offset + due > most:
            self._stop(too_large(head.status, most))
            return False
        if not self.is_ranged:
            if not is_watched and self._ends_unseen(head):
                self.is_unseen = self.enough = True
                return False
            self.draft = terms.store.open(self._name, head)
            if self._begun is not None:
                self._begun(self)
            if terms.start_hash is not None and self.until is None:
                self._hasher = terms.start_hash()
        if self.ends is not None or self.until is not None:
            self._bound = self._next_bound()
        return True

    def _write_last(self, data: bytes) -> int | None:
        """Write bytes that may exceed the answer's length, the segment or a limit, or belong to an unwanted body."""
        at = self.size
        if self.ends is not None and at + len(data) > self.ends:
            return self._overrun()
        if self.until is not None and self._reaches(at + len(data)):
            data = data[: self.until - at]
            self.enough = True
        self.size += len(data)
        if self.draft is None:
            self.enough = self.received > LONGEST_DISCARD
            return _STOP if self.enough else _GO_ON
        cap = self._terms.policy.max_size
        if self.size > cap:
            return self._stop(too_large(self.head.status if self.head else None, cap))
        self.draft.write(data, at)
        if self._hasher is not None:
            self._hasher.update(data)
        return _STOP if self.enough else _GO_ON

    def _next_bound(self) -> int:
        """Return an offset up to which bytes certainly exceed no limit and do not end a segment."""
        bound = self._terms.policy.max_size
        if self.ends is not None:
            bound = min(bound, self.ends)
        return bound if self.until is None else min(bound, self.until - 1)

    def _compare(self, head: Head) -> None:
        """Compare the response with the range requested; a range that is the whole body is always accepted."""
        asked, span = self._asked, span_of(head)
        if asked is None:
            self.ends = span.end if span is not None and span.is_all else None
        elif span is not None and continues(head, asked.version, asked.size, self.until):
            self.is_ranged = True
            self.draft, self.offset, self.ends = asked.draft, asked.size, span.end
            self.size = self.offset
        elif asked.head is not None and is_whole_already(head, asked):
            # Only the end of the framing was missing: the earlier response counts.
            self.is_ranged = self.enough = True
            self.head, self.draft, self.offset, self.ends = asked.head, asked.draft, asked.size, asked.size
            self.size = self.offset
        else:
            self.is_unfit = self.is_helper or head.status in (206, 416)

    def _ends_unseen(self, head: Head) -> bool:
        """Does only the end of the stream end this body, which is to be stored?"""
        return head.framing not in (None, "close") and self._due(head) is None and of_status(head, 0.0) is None

    def _overrun(self) -> int:
        """Reject a body that is longer than its Content-Range says: none of it can be trusted."""
        if self._asked is None:
            return self._stop(bad_response("More bytes arrived than Content-Range declares.", status=206))
        self.is_unfit = self.enough = True
        return _STOP

    def _reaches(self, end: int) -> bool:
        """Does the segment end at this offset, while the response continues?"""
        return self.until is not None and (end > self.until or (end == self.until and self.until != self.ends))

    def _due(self, head: Head | None) -> int | None:
        """Return how many bytes this exchange must deliver; None: only the framing tells."""
        end = self.until if self.until is not None else self.ends
        if end is not None:
            return end - self.offset
        return head.length if head is not None else None

    def _stop(self, failure: Failure) -> int:
        self.stopped = failure
        return _STOP


def _refusal(ended: Ended) -> Failure | None:
    """Return the refusal of a host if all its addresses were refused; if some just failed, the host failed."""
    if len(ended.refusals) < ended.sockets:
        return None
    return Failure(error=ErrorClass.REFUSED_ADDRESS, kind=Kind.REFUSED, detail=ended.refusals[0])


def local_trouble(trouble: DiskTrouble) -> Failure:
    wait = SPACE_WAIT if isinstance(trouble, NoSpaceError) else None
    return Failure(error=ErrorClass.LOCAL_DISK, kind=Kind.LOCAL, detail=str(trouble), retry_after=wait)
