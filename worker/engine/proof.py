"""Proof: a whole body is read back and compared with what the list and the server promised of it."""

from __future__ import annotations

from contract.records.outcomes import ErrorClass
from contract.records.policy import Digest
from contract.urls.expected import Expected
from worker.engine.failures import Failure, Kind
from worker.engine.http.promises import Promise
from worker.engine.transfer import Transfer


def needs_reading(transfer: Transfer) -> bool:
    """Is there a digest to be compared, or one that could not be taken as the bytes came?"""
    if transfer.promises or transfer.entry.expected is not None:
        return True
    return transfer.digest is None and transfer.run.policy.digest is not Digest.NONE


def read_back(transfer: Transfer) -> Failure | None:
    """Note the digest of a body; return what was promised and is not so.

    Raises:
        DiskTrouble: it cannot be read.
    """
    expected = transfer.entry.expected or Expected()
    if expected.size is not None and expected.size != transfer.size:
        return _mismatch("size", "the list", str(expected.size), str(transfer.size))
    promises = list(transfer.promises)
    if expected.sha256:
        promises.append(Promise("sha256", expected.sha256, "the list"))
    if expected.md5:
        promises.append(Promise("md5", expected.md5, "the list"))
    wanted = transfer.run.policy.digest
    algorithms = {promise.algorithm for promise in promises}
    if wanted is not Digest.NONE:
        algorithms.add(wanted.value)
    assert transfer.draft is not None
    found = transfer.draft.digest(sorted(algorithms))
    transfer.digest = found.get(wanted)
    for promise in promises:
        if found[promise.algorithm] != promise.digest:
            return _mismatch(promise.algorithm, promise.source, promise.digest, found[promise.algorithm])
    return None


def _mismatch(what: str, source: str, promised: str, found: str) -> Failure:
    detail = f"The body's {what} is {found[:80]}; {source} promised {promised[:80]}."
    # Once more, because a broken transfer is likelier than a wrong promise.
    return Failure(error=ErrorClass.DIGEST, kind=Kind.TRANSIENT, detail=detail, tries=2)
