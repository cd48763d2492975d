"""The message that makes a worker claim a batch (the claim-check pattern: the batch itself stays in the ledger)."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from contract.errors import MessageError
from contract.records import wire

MESSAGE_VERSION = 1
BATCH_TASK = "trawlnet.batch"

_JOB_ID = "[a-z0-9][a-z0-9-]{0,63}"
_BATCH_ID = r"[0-9]{1,12}(\.[0-9a-f]{1,16}-[0-9]{1,6})?"


class BatchMessage(Struct, frozen=True, forbid_unknown_fields=True):
    """Names one batch of one job; the URLs themselves are in the ledger."""

    job: Annotated[str, Meta(pattern=rf"\A{_JOB_ID}\Z")]
    batch: Annotated[str, Meta(pattern=rf"\A{_BATCH_ID}\Z")]

    @property
    def task_id(self) -> str:
        """The id under which Celery's clients find the batch's report; the ids of its messages begin with it."""
        return task_id(self.job, self.batch)

    def to_wire(self) -> dict[str, Any]:
        return {"version": MESSAGE_VERSION, "job": self.job, "batch": self.batch}

    @classmethod
    def from_wire(cls, record: object) -> BatchMessage:
        """Read a message's only argument.

        Raises:
            MessageError: it is not a message of this version.
        """
        if not isinstance(record, dict):
            raise MessageError("A batch message must be a JSON object.")
        named = dict(record)
        if (version := named.pop("version", None)) != MESSAGE_VERSION:
            found = str(version)[:20]
            raise MessageError(
                f"This worker reads message version {MESSAGE_VERSION}, not {found}: run one Trawlnet on both sides."
            )
        return wire.shaped(named, cls, "A batch message")


def task_id(job: str, batch: str) -> str:
    return f"{job}.{batch}"


def child_batch(batch: str, index: int, token: str) -> str:
    """Name the index-th batch (from 1) opened in place of this one by the holder of ``token``.

    The token makes the name unique: if Redis is restored to a state before a hand-off, the batch may be handed off
    again differently, and the two sets of children must not be confused. Of the ancestors, only the producer's number
    is kept, so the name stays short even if a batch is handed off for days.
    """
    return f"{batch.partition('.')[0]}.{token.rpartition('/')[2][:12]}-{index}"
