"""One request and its response: what is asked, and what arrives while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contract.records.outcomes import ErrorClass
from worker.engine.digests import Hasher
from worker.engine.failures import Breakage, Failure, Kind
from worker.engine.http.headers import Head, read_head
from worker.engine.http.ranges import (
    SMALLEST_KEPT,
    Part,
    continues,
    is_whole_already,
    range_fields,
    span_of,
    to_record,
    version_of,
)
from worker.engine.http.verdict import LONGEST_DISCARD, Reception, bad_response, of_status, too_large
from worker.engine.ports import BodyTooLargeError, DiskTrouble, Draft, NoSpaceError

if TYPE_CHECKING:
    from worker.engine.transfer import Transfer

SPACE_WAIT = 30.0  # seconds a body waits that the disk has no space for now: each try asks the server once more

_GO_ON = None
_STOP = -1


class Exchange:
    """The adapter fills ``lines`` with raw header lines, calls ``take`` for body bytes and sets how it ended.

    Times are in seconds; ``at_*`` count from the exchange's start (libcurl's time line).
    """

    __slots__ = (
        "addresses", "answered_at", "asked", "at_connected", "at_first_byte", "at_resolved", "at_secured", "began",
        "breakage", "cap", "detail", "draft", "ends", "enough", "fields", "hasher", "head", "heard", "heard_at",
        "is_fresh", "is_helper", "is_quiet", "is_ranged", "is_unfit", "is_unseen", "is_watched", "lines", "marked_at",
        "marks", "must_watch", "offset", "received", "refusals", "remote_ip", "sockets", "stopped", "took", "transfer",
        "until",
    )  # fmt: skip

    def __init__(
        self, transfer: Transfer, addresses: tuple[str, ...], now: float, *, share: tuple[Part, int] | None = None
    ) -> None:
        """``share`` makes it a helper: what precedes its range, and where that ends."""
        self.transfer = transfer
        self.addresses = addresses
        self.began = now
        self.cap = transfer.run.policy.max_size
        self.fields: tuple[str, ...] = transfer.own_fields(now)  # header lines to send beside the usual ones
        # A pooled connection may be dead, or the reason why the attempt before failed.
        self.is_fresh = transfer.is_wary or bool(transfer.attempts)
        self.must_watch = transfer.must_watch  # a reset of its stream may not go unnoticed
        self.is_watched = True  # none would; the adapter says where that is not so
        self.is_unseen = False  # its body may have been cut by one: ask again, and watch
        self.lines: list[bytes] = []
        self.head: Head | None = None
        self.draft: Draft | None = None
        self.hasher: Hasher | None = None
        self.received = 0  # bytes of this exchange; the first belongs at ``offset`` of the body
        self.offset = 0
        self.until: int | None = None  # where in the body this exchange may stop
        self.is_helper = share is not None
        self.asked: Part | None = transfer.part  # what the request asks to continue
        if share is not None:
            self.asked, self.until = share
        self.ends: int | None = None  # where in the body its answer ends, as Content-Range says, whatever frames it
        self.is_ranged = False  # the answer continues it, exactly
        self.is_unfit = False  # the answer to the range is of no use: ask for the whole
        if self.asked is not None:
            self.fields += range_fields(self.asked.version, self.asked.size, self.until)
        self.enough = False
        self.stopped: Failure | None = None
        self.refusals: list[str] = []  # why sockets were not opened
        self.sockets = 0  # how many were asked for
        self.marks: tuple[int, ...] = ()  # how many bytes had come whenever the speed was looked at lately
        self.marked_at = now
        self.heard = 0  # bytes seen when it was last looked at whether it is quiet
        self.heard_at = now
        self.is_quiet = False  # it holds no place in the window
        self.answered_at: float | None = None  # when its status was seen to say how it ends, whatever body follows
        self.breakage: Breakage | None = None
        self.detail = ""
        self.remote_ip: str | None = None
        self.at_resolved = self.at_connected = self.at_secured = self.at_first_byte = self.took = 0.0

    def take(self, data: bytes) -> int | None:
        """Take body bytes; anything but None ends the exchange. Never raises."""
        try:
            if self.head is None and not self._open():
                return _STOP
            at = self.offset + self.received
            if self.ends is not None and at + len(data) > self.ends:
                return self._overrun()
            if self.until is not None and self._reaches(at + len(data)):
                data = data[: self.until - at]
                self.enough = True
            self.received += len(data)
            if self.draft is None:
                self.enough = self.received > LONGEST_DISCARD
                return _STOP if self.enough else _GO_ON
            if at + len(data) > self.cap:
                return self._stop(too_large(self.head.status if self.head else None, self.cap))
            self.draft.write(data, at)
            if self.hasher is not None:
                self.hasher.update(data)
            self.transfer.run.bytes += len(data)
            return _STOP if self.enough else _GO_ON
        except DiskTrouble as trouble:
            return self._stop(local_trouble(trouble))
        except BodyTooLargeError as error:
            return self._stop(Failure(error=ErrorClass.TOO_LARGE, kind=Kind.LIMIT, detail=str(error)))
        except BaseException as error:  # libcurl would swallow it and call it error 23
            return self._stop(bug(error))

    def close(self) -> None:
        """The exchange ended: read the header block if no body byte made us do so, and hold a range to its length."""
        if self.head is None:
            self.head = read_head(self.lines)
            if self.head is not None:
                self._compare(self.head)
                self.is_unseen = self._ends_unseen(self.head)
        is_over = self.breakage is None and self.stopped is None and not self.enough
        if self.is_ranged and is_over and self.received != self._due():
            self.is_unfit = True  # nothing broke off: which of its bytes are missing cannot be known

    @property
    def size(self) -> int:
        """Bytes of the body that are there, those of earlier exchanges included."""
        return self.offset + self.received

    def reception(self) -> Reception:
        breakage = None if self.enough else self.breakage
        stopped = self.stopped if not self.refusals else self._refusal() or self.stopped
        return Reception(
            self.head, self.received, self._due(), breakage, self.detail, stopped, self.ends is not None, self.enough
        )

    def seen_bytes(self) -> int:
        """Bytes that arrived, for telling whether it is quiet: header lines count when they are complete."""
        return self.received or sum(map(len, self.lines))

    def is_answered(self) -> bool:
        """Does the status say by itself how this ends? A body that follows is one nobody wants."""
        if self.draft is not None or not self.lines:
            return False
        head = self.head or read_head(self.lines)
        return head is not None and head.status not in (206, 416) and of_status(head, wall=0.0) is not None

    def _open(self) -> bool:
        """Read the header block at the first body byte and decide where the body goes."""
        self.head = head = read_head(self.lines)
        if head is None:
            self._stop(bad_response("A body came before its header block ended."))
            return False
        self._compare(head)
        if self.is_unfit or self.enough:
            self.enough = True
            return False
        if of_status(head, wall=0.0, ranged=self.ends is not None) is not None:
            return True  # a body nobody wants
        due = self._due()
        if due is not None and self.offset + due > self.cap:
            self._stop(too_large(head.status, self.cap))
            return False
        if self.is_ranged:
            return True
        if self._ends_unseen(head):
            self.is_unseen = self.enough = True
            return False
        transfer, run = self.transfer, self.transfer.run
        self.draft = run.store.open(transfer.name, transfer.entry.url, head)
        if transfer.ask_for_help is not None:
            transfer.ask_for_help(self)
        if run.policy.resume and transfer.split is None:
            self._shelve(head)
        if run.start_hash is not None and transfer.split is None:
            self.hasher = run.start_hash()
        return True

    def _shelve(self, head: Head) -> None:
        """Have a large body survive whatever ends this process."""
        version = version_of(head)
        transfer = self.transfer
        if self.draft is not None and version is not None and (version.total or 0) >= SMALLEST_KEPT:
            transfer.drop_part()
            self.draft.shelve(to_record(version))

    def _compare(self, head: Head) -> None:
        """Hold the answer to a range against what was asked for; the whole body in one range needs no asking."""
        asked, span = self.asked, span_of(head)
        if asked is None:
            self.ends = span.end if span is not None and span.is_all else None
        elif span is not None and continues(head, asked.version, asked.size, self.until):
            self.is_ranged = True
            self.draft, self.offset, self.ends = asked.draft, asked.size, span.end
        elif asked.head is not None and is_whole_already(head, asked):
            # What broke off was the end of the framing: the response of then is the one that counts.
            self.is_ranged = self.enough = True
            self.head, self.draft, self.offset, self.ends = asked.head, asked.draft, asked.size, asked.size
        else:
            self.is_unfit = self.is_helper or head.status in (206, 416)

    def _ends_unseen(self, head: Head) -> bool:
        """Is it a body to store that only the end of its stream ends, and nobody would see that it was reset?"""
        is_stream = not self.is_watched and head.framing not in (None, "close") and self._due() is None
        return is_stream and of_status(head, wall=0.0) is None

    def _overrun(self) -> int:
        """More bytes came than Content-Range says: none of them can be trusted."""
        if self.asked is None:
            return self._stop(bad_response("More bytes came than Content-Range says.", status=206))
        self.is_unfit = self.enough = True
        return _STOP

    def _reaches(self, end: int) -> bool:
        """Is an exchange that has come this far at the end of its share, and its answer is not?"""
        return self.until is not None and (end > self.until or (end == self.until and self.until != self.ends))

    def _due(self) -> int | None:
        """Return how many bytes this exchange has to bring; None: nothing but the framing says it."""
        # A share counts as a share only while somebody else fetches the others.
        end = self.until if self.until is not None and self.transfer.split is not None else self.ends
        if end is not None:
            return end - self.offset
        return self.head.length if self.head is not None else None

    def _stop(self, failure: Failure) -> int:
        self.stopped = failure
        return _STOP

    def _refusal(self) -> Failure | None:
        """A host all of whose addresses were refused is refused; one that failed elsewhere too just failed."""
        if len(self.refusals) < self.sockets:
            return None
        return Failure(error=ErrorClass.REFUSED_ADDRESS, kind=Kind.REFUSED, detail=self.refusals[0])


def local_trouble(trouble: DiskTrouble) -> Failure:
    wait = SPACE_WAIT if isinstance(trouble, NoSpaceError) else None
    return Failure(error=ErrorClass.LOCAL_DISK, kind=Kind.LOCAL, detail=str(trouble), retry_after=wait)


def bug(error: BaseException) -> Failure:
    detail = f"A bug of ours: {type(error).__name__}."
    return Failure(error=ErrorClass.INTERNAL, kind=Kind.PERMANENT, detail=detail)
