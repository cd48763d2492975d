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
        "worker/telling.py",
        "except (*AWAY, OperationalError, OSError):",
        ("tests/unit/test_telling.py",),
        "except KeyError:",
    ),
    Guard(
        "contract/bell.py",
        'if message["type"] == "message" and message["channel"] == self._beside:',
        ("tests/integration/test_glimpses.py",),
        'if message["type"] == "pong":',
    ),
    Guard("contract/bell.py", "for _ in self._channels", ("tests/integration/test_glimpses.py",), "for _ in [0]"),
    Guard("producer/preview.py", "if glimpse.batch not in self._over:", ("tests/unit/test_preview.py",), "if True:"),
    Guard(
        "producer/follower.py",
        "        self.preview.end(drained)\n",
        ("tests/integration/test_follow.py", "-k", "glimpse"),
    ),
    Guard(
        "worker/shift.py",
        "                self._tell([",
        ("tests/acceptance/test_run.py::test_what_an_open_batch_has_done_is_shown_before_it_is_closed",),
        "                list([",
    ),
)
