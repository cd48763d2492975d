"""Adds the current job and batch to log lines; set once, where work on a batch begins."""

from __future__ import annotations

import logging
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_subject: ContextVar[tuple[str, str] | None] = ContextVar("subject", default=None)


@contextmanager
def about(job: str, batch: str) -> Iterator[None]:
    """Prefix every line that this thread logs in this context with the job and batch."""
    token = _subject.set((job, batch))
    try:
        yield
    finally:
        _subject.reset(token)


@contextmanager
def about_the_worker() -> Iterator[None]:
    """Log lines in this context without a batch, even while one is being worked on."""
    token = _subject.set(None)
    try:
        yield
    finally:
        _subject.reset(token)


class SubjectLogger(logging.LoggerAdapter[logging.Logger]):
    """Puts job and batch before the text, and into the record as ``job`` and ``batch`` for custom formats."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        job, batch = _subject.get() or ("", "")
        if job and self.isEnabledFor(level):
            # As arguments, because a job's id may hold a percent sign. A text without arguments is not formatted.
            text, args = (f"{msg}", args) if args else ("%s", (msg,))
            msg, args = f"Job %s batch %s: {text}", (job, batch, *args)
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1  # the caller's line, not this one
        super().log(level, msg, *args, **kwargs)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        job, batch = _subject.get() or ("", "")
        kwargs["extra"] = {**(kwargs.get("extra") or {}), "job": job, "batch": batch}
        return msg, kwargs


def logger_of(module: str) -> SubjectLogger:
    """Return the logger of a module (its ``__name__``)."""
    return SubjectLogger(logging.getLogger(module))
