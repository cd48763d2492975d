"""The thread that asks the name servers, with a few sockets for any number of names.

A name in flight costs an entry in a table, so names without an answer do not delay others.
"""

from __future__ import annotations

import logging
import os
import selectors
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from worker.adapters.resolver import configuration
from worker.adapters.resolver.configuration import Configuration
from worker.adapters.resolver.questions import Found, Questions
from worker.adapters.resolver.wires import Wire
from worker.engine.ports import Clock

_log = logging.getLogger("trawlnet.names")

AT_ONCE = 256  # names in flight that are not late; others wait for their turn
MOST = 8192  # names in flight, late ones included
_LOOK_AGAIN = 5.0  # seconds between two checks of the machine's configuration


class NameServers:
    """Implements ``worker.adapters.resolver.resolver.Asking``; ``ask`` and ``close`` may be called from any thread."""

    def __init__(
        self,
        submit: Callable[[Callable[[], None]], object],
        clock: Clock,
        *,
        look: Callable[[], Configuration | None] = configuration.read,
        signature: Callable[[], object] = configuration.signature,
    ) -> None:
        """``submit`` runs a call on another thread until ``close``; ``look`` reads the configuration again when
        ``signature`` has changed.
        """
        self._submit = submit
        self._clock = clock
        self._look = look
        self._signature = signature
        self._seen: object = None  # the signature of the configuration in use
        self._looked = float("-inf")
        self._queue: deque[str] = deque()
        self._lock = threading.Lock()
        self._entrance = -1  # of the pipe that wakes the thread; -1: there is no thread
        self._is_awake = False
        self._is_closed = self._is_broken = False
        self._begin: Callable[[str], None] = _nothing
        self._deliver: Callable[[str, Found | None], None] = _nothing

    def answer_to(self, begin: Callable[[str], None], deliver: Callable[[str, Found | None], None]) -> None:
        """Set the callbacks, called on another thread: when a host is first asked for, and with what was found."""
        self._begin, self._deliver = begin, deliver

    def ask(self, host: str) -> None:
        if self._is_broken:
            self._answered(host, None)
            return
        self._queue.append(host)
        try:
            with self._lock:
                if self._entrance < 0 and not self._is_closed:
                    self._start()
                self._wake()
        except OSError:  # no free descriptors
            self._queue.remove(host)
            self._answered(host, None)

    def close(self) -> None:
        """End the thread; no callback is called any more."""
        with self._lock:
            self._is_closed = True
            self._wake()

    def _start(self) -> None:
        exit_, self._entrance = os.pipe()
        os.set_blocking(exit_, False)
        os.set_blocking(self._entrance, False)
        self._submit(lambda: self._run(exit_))

    def _wake(self) -> None:
        if not self._is_awake and self._entrance >= 0:
            self._is_awake = True
            with suppress(BlockingIOError):  # full: it is awake already
                os.write(self._entrance, b"\0")

    # ------------------------------------------------------------------------------------------- its own thread

    def _run(self, exit_: int) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(exit_, selectors.EVENT_READ)
            questions = Questions(selector, self._answered)
            try:
                while not self._is_closed:
                    self._poll(questions, selector)
            except Exception:  # a bug must not stop all name resolution
                _log.exception("Asking the name servers failed; the system's resolver is asked from now on.")
                self._is_broken = True
            self._leave(exit_)
            questions.configure(None)
            questions.hand_back()
        while self._queue:
            self._answered(self._queue.popleft(), None)

    def _leave(self, exit_: int) -> None:
        with self._lock:
            os.close(exit_)
            os.close(self._entrance)
            self._entrance = -1
            self._is_awake = False

    def _answered(self, host: str, found: Found | None) -> None:
        if not self._is_closed:
            self._deliver(host, found)

    def _poll(self, questions: Questions, selector: selectors.BaseSelector) -> None:
        now = self._clock.now()
        if self._queue:
            self._look_at_the_configuration(questions, now)
        while self._queue and questions.on_time < AT_ONCE and len(questions) < MOST:
            host = self._queue[0]
            self._begin(host)
            questions.begin(host, now)
            self._queue.popleft()
        due = questions.next_due()
        for key, _ in selector.select(None if due is None else max(0.0, due - self._clock.now())):
            if isinstance(key.data, Wire):
                questions.hear(key.data, self._clock.now())
            else:
                os.read(key.fd, 4096)
                self._is_awake = False
        questions.resend(self._clock.now())

    def _look_at_the_configuration(self, questions: Questions, now: float) -> None:
        """Apply changes while running: a laptop moves, a VPN comes up."""
        if now < self._looked + _LOOK_AGAIN:
            return
        self._looked = now
        seen = self._signature()
        if seen != self._seen:
            self._seen = seen
            questions.configure(self._look())


def _nothing(*_: object) -> None:
    return None
