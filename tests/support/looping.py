"""Servers that run on an event loop in a thread of their own."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

from tests.support.processes import PATIENCE

Result = TypeVar("Result")


class Looping(ABC):
    """A context manager: it listens when it is entered, and all it began has ended when it is left."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE * 10.0)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do this on the loop's thread, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE * 10.0)

    @abstractmethod
    async def _listen(self) -> None:
        """Begin."""

    @abstractmethod
    async def _end(self) -> None:
        """Listen no more, and end what is open."""
