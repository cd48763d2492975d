"""The guards of what people are shown of a job: what is said to hold it up does."""

from __future__ import annotations

from tests.mutants.guard import Guard

_WAITS = ("tests/unit/worker/engine/test_waits.py",)
_STANDING = ("tests/integration/ledger/test_standing.py",)
_HEALTH = ("tests/integration/ledger/test_health.py",)

GUARDS = (
    Guard("worker/engine/lane.py", "            self._note_waits(now)\n", _WAITS, ""),
    Guard(
        "worker/engine/lookups.py",
        ">= QUIET_AFTER:\n                for transfer, _",
        _WAITS,
        ">= 0:\n                for transfer, _",
    ),
    Guard("worker/engine/results.py", "            self._errors.clear()\n", _WAITS, ""),
    Guard("contract/ledger/reading.py", "elsewhere=max(0, held - running)", _STANDING, "elsewhere=0"),
    Guard("contract/ledger/ledger.py", 'flat += [f"{ERROR.decode()}{error}", amount]', _STANDING, "flat += []"),
    Guard("contract/ledger/health.py", "if age < _FORGOTTEN_AFTER}", _HEALTH, "}"),
    Guard(
        "contract/ledger/health.py",
        "            self._redis.zrem(self._workers",
        _HEALTH,
        "            self._redis.zmscore(self._workers",
    ),
    Guard("worker/health.py", "            self._beat()\n", ("tests/unit/worker/test_health.py",), ""),
)
