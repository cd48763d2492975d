"""The guards that keep a worker and a follower going when Redis is lost, or comes back older."""

from __future__ import annotations

from tests.mutants.guard import Guard

GUARDS = (
    Guard(
        "contract/transport.py",
        "if self.connection is None or self.connection.client is None:",
        ("tests/unit/test_transport.py",),
        "if False:",
    ),
    Guard("contract/broker.py", "    mend_redis_transport()\n", ("tests/unit/test_transport.py",)),
    Guard(
        "producer/follower.py",
        "if self._journal.count_undrained() > self.record.open + self.record.undrained:",
        ("tests/integration/test_rolled_back.py",),
        "if False:",
    ),
)
