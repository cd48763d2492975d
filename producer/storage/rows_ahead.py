"""Rows of a manifest, read ahead: a list that is run again asks for them in about the order they were written."""

from __future__ import annotations

import os
from binascii import unhexlify

_NEAR = 64 * 1024  # bytes from the last rows; a row that is nearer is taken for part of a sequence
_BLOCK = 256 * 1024  # bytes: some hundred rows
_MOST = 4_000  # rows in memory, besides those of a block

# A string in JSON holds no bare quotation mark, so these are found as keys and values only.
_NAME, _OUTCOME = b',"name":"', b',"outcome":"'
_STORED = (b'ok"', b'kept"')


class RowsAhead:
    """Rows of stored files by name, from one manifest."""

    def __init__(self) -> None:
        self._rows: dict[bytes, bytes] = {}
        self._start = self._end = -2 * _NEAR  # of what was found or read last

    def get(self, name: bytes) -> bytes | None:
        return self._rows.get(name)

    def found(self, file: int, start: int) -> None:
        """Note where a row that was not read ahead begins; read on there if the last one was near."""
        if self._start - _NEAR < start < self._end + _NEAR:
            self._end = start + self._read(file, start)
        else:
            self._end = start
        self._start = start

    def _read(self, file: int, start: int) -> int:
        if len(self._rows) > _MOST:
            self._rows.clear()
        block = os.pread(file, _BLOCK, start)
        for row in block.split(b"\n")[:-1]:
            at = row.find(_NAME) + len(_NAME)
            if row.startswith(_STORED, row.find(_OUTCOME, at) + len(_OUTCOME)):
                try:
                    self._rows[unhexlify(row[at : at + 32])] = row
                except ValueError:
                    continue  # not one of our rows
        return len(block)
