"""The guards of a worker's life: told to stop it is gone in time, and why it stands still is told."""

from __future__ import annotations

from tests.mutants.guard import Guard

_DEPARTURE = "worker/shutdown.py"
_TOLD = ("tests/integration/test_shutdown.py",)
_FLOOR = ("tests/acceptance/test_run.py::test_a_disk_below_the_floor_is_told_at_the_terminal",)

GUARDS = (
    Guard("producer/cluster/embedded.py", "            self._listen()\n", _FLOOR, "            pass\n"),
    Guard("worker/lifecycle.py", '    app.steps["worker"].add(_Leaving)\n', _TOLD),
    Guard("worker/lifecycle.py", "    signals.worker_process_init.connect(_end_as_orphan, weak=False)\n", _TOLD),
    Guard(_DEPARTURE, "if self._is_told or number == signal.SIGQUIT:", _TOLD, "if self._is_told:"),
    Guard(_DEPARTURE, "if self._is_told or number == signal.SIGQUIT:", _TOLD, "if number == signal.SIGQUIT:"),
    Guard(_DEPARTURE, "        self._leave_after(self._within, f", _TOLD, "        str(f"),
    Guard(_DEPARTURE, "(signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)", _TOLD, "(signal.SIGTERM, signal.SIGQUIT)"),
    Guard(_DEPARTURE, "            self._stop(number, frame)\n", _TOLD, "            pass\n"),
)
