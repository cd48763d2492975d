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
    Guard("worker/shift.py", "            and self._holds_few()\n", ("tests/unit/test_shift.py",)),
    Guard(
        "worker/tasks.py",
        "except (*AWAY, OperationalError, OSError):",
        ("tests/unit/test_progress.py",),
        "except KeyError:",
    ),
)
