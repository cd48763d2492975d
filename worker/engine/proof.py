"""Proof: reads a complete body back and compares it with what the list and the server promised."""

from __future__ import annotations

from contract.records.outcomes import ErrorClass
from contract.records.policy import Digest
from contract.urls.expected import Expected
from worker.engine.failures import Failure, Kind
from worker.engine.http.promises import Promise
from worker.engine.transfer import Fetched

_NO_DIGEST = Digest.NONE


def needs_reading(fetched: Fetched, expected: Expected | None, wanted: Digest) -> bool:
    """Is there a digest to compare, or one that was not computed while the bytes arrived?"""
    if fetched.promises or expected is not None:
        return True
    return fetched.digest is None and wanted is not _NO_DIGEST


def read_back(fetched: Fetched, expected: Expected | None, wanted: Digest) -> Failure | str | None:
    """Return a failure if the body differs from a promise; otherwise its ``wanted`` digest in hex, if any.

    Raises:
        DiskTrouble: it cannot be read.
    """
    expected = expected or Expected()
    if expected.size is not None and expected.size != fetched.size:
        return _mismatch("size", "the list", str(expected.size), str(fetched.size))
    promises = list(fetched.promises)
    if expected.sha256:
        promises.append(Promise("sha256", expected.sha256, "the list"))
    if expected.md5:
        promises.append(Promise("md5", expected.md5, "the list"))
    algorithms = {promise.algorithm for promise in promises}
    if wanted is not Digest.NONE:
        algorithms.add(wanted.value)
    found = fetched.draft.digest(sorted(algorithms))
    for promise in promises:
        if found[promise.algorithm] != promise.digest:
            return _mismatch(promise.algorithm, promise.source, promise.digest, found[promise.algorithm])
    return found.get(wanted)


def _mismatch(what: str, source: str, promised: str, found: str) -> Failure:
    detail = f"The body's {what} is {found[:80]}; {source} promised {promised[:80]}."
    # Tried twice, because a broken transfer is more likely than a wrong promise.
    return Failure(error=ErrorClass.DIGEST, kind=Kind.TRANSIENT, detail=detail, tries=2)
