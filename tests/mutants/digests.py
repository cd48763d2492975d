"""The guards of promised digests: which are checked, and which are ignored."""

from __future__ import annotations

from tests.mutants.guard import Guard


def _of(text: str, instead: str = "") -> Guard:
    return Guard("worker/engine/http/promises.py", text, ("tests/unit/worker/engine/http/test_promises.py",), instead)


GUARDS = (
    _of(" and is_known(algorithm)"),
    _of("len(raw) == _SIZES.get(algorithm)", "True"),
    _of("algorithm if algorithm in _GOOGLE else", "algorithm or"),
    _of('if stored in ("identity", fields.get("content-encoding")):', "if True:"),
    _of('if fields.get("x-amz-checksum-type", "").upper() != "COMPOSITE":', "if True:"),
    _of('["repr-digest"] if is_part else '),
)  # fmt: skip
