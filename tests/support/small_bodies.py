"""Lets bodies of kilobytes be resumed, kept and split like those of megabytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from worker.engine import parts, transfer
from worker.engine.splits import split

_SIZES = {
    transfer: {"SMALLEST_PART": 64},
    parts: {"SMALLEST_PART": 64, "SMALLEST_KEPT": 1000},
    split: {"SMALLEST_SEGMENT": 512, "SMALLEST_EXTRA": 1000, "SMALLEST_RELIEF": 200, "SMALLEST_PART": 64},
}  # bytes


@contextmanager
def small_bodies() -> Iterator[None]:
    """Make the sizes small from which on it is worth it."""
    with pytest.MonkeyPatch.context() as patch:
        for module, sizes in _SIZES.items():
            for name, size in sizes.items():
                patch.setattr(module, name, size)
        yield
