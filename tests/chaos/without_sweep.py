"""Run a module with the ledger's recovery switched off: what is lost then is what Celery alone would lose.

``python tests/chaos/without_sweep.py celery -A worker worker``. A redelivered message may take a batch whose lease
ran out, as it could if there were no leases; nobody looks for what was lost, and nobody claims without a message.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from contract.ledger.ledger import RedisLedger
    from contract.ledger.sweep import Sweeper, SweepFindings
    from contract.ledger.values import Claim
    from contract.records.messages import BatchMessage

    claim = RedisLedger.claim

    def claim_next(self: RedisLedger, *, holder: str, message: BatchMessage | None = None, **_: Any) -> Claim | None:
        return claim(self, message.job, message.batch, holder=holder, even_worn=True) if message else None

    def sweep(self: Sweeper) -> SweepFindings:
        return SweepFindings()

    Sweeper.sweep = sweep  # type: ignore[method-assign]  # the point of this program
    RedisLedger.claim_next = claim_next  # type: ignore[method-assign]  # the same
    module, sys.argv = sys.argv[1], sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


main()
