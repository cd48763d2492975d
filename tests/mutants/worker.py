"""The guards of a worker's life: it stops in time when asked to, and reports why it takes no work."""

from __future__ import annotations

from tests.mutants.guard import Guard

_DEPARTURE = "worker/shutdown.py"
_TOLD = ("tests/integration/test_shutdown.py",)
_FLOOR = ("tests/acceptance/test_run.py::test_a_disk_below_the_floor_is_reported_on_the_terminal",)
_SEEN = ("tests/acceptance/test_full_disk.py::test_a_workers_trouble_is_shown_everywhere",)
_ENDS = ("tests/acceptance/test_full_disk.py::test_a_worker_whose_folder_cannot_be_used_exits_at_once",)
_RESERVE = ("tests/unit/producer/cluster/test_reserve.py",)
_DISK = ("tests/acceptance/test_full_disk.py::test_a_redis_with_a_full_disk_is_waited_for",)
_HEALTH = ("tests/unit/worker/test_health.py",)
_OBSERVER = ("tests/unit/producer/job/test_observer.py",)
_TROUBLES = ("tests/unit/producer/job/test_troubles.py",)
_ENDED = """        self._listener.notify(ended)
        if isinstance(ended, BatchClosed):
            self._send_for(batch.claim, opened)
"""

GUARDS = (
    Guard(_DEPARTURE, "        _thread.start_new_thread(_exit_when_idle, (self._has_work,))\n", _TOLD),
    Guard("worker/tasks.py", "with self._in_hand.one_more():", _TOLD, "if True:"),
    Guard("worker/tasks.py", "return start(unable=str(error))",
        ("tests/integration/test_worker.py::test_a_worker_that_lacks_a_package_ends_the_urls_at_once_and_says_why",),
        "raise"),
    Guard("worker/lifecycle.py", "has_work=lambda: bool(self._in_hand)", _TOLD, "has_work=lambda: False"),
    Guard("producer/job/observer.py", "self._troubles.update(self.census.troubles)", _FLOOR, "pass"),
    Guard("worker/wiring.py", '        threading.Thread(target=watch.run, name="health", daemon=True).start()\n',
        _FLOOR),
    Guard("worker/batch/runner.py", "            self._disk_backoff.note_waiting(batch.run.short_of_space)\n",
        ("tests/unit/worker/batch/test_runner.py",), "            pass\n"),
    Guard("worker/health.py", "output_trouble(settings) or backoff.reason", _SEEN, "backoff.reason"),
    Guard("worker/health.py", "        self._listener.notify(TroubleSeen(found))\n", _HEALTH, "        pass\n"),
    Guard("worker/batch/runner.py", f"        self._held.remove(batch)\n{_ENDED}",
        ("tests/unit/worker/batch/test_runner.py",), f"{_ENDED}        self._held.remove(batch)\n"),
    Guard("worker/health.py", "        elif now - self._seen < _ENDED_AFTER:\n", _HEALTH, "        elif False:\n"),
    Guard("worker/health.py", "or now - self._reported >= _RENEWED_EVERY", _HEALTH),
    Guard("worker/health.py", "            self._reported, self._recorded = now, found\n", _HEALTH,
        "            pass\n"),
    Guard("worker/health.py", "        except (*UNREACHABLE, OSError):", _HEALTH, "        except OSError:"),
    Guard("worker/health.py", "        os.utime(self._path, (0, 0))\n", _HEALTH),
    Guard("worker/wiring.py", "            check_output(self._settings)\n", _ENDS),
    Guard("contract/ledger/health.py", ", ex=BELIEVED_FOR)", ("tests/integration/ledger/test_health.py",), ")"),
    Guard("contract/cluster/broker.py", 'BaseParser.EXCEPTION_CLASSES["MISCONF"] = RedisDiskError\n', _DISK),
    Guard("contract/cluster/transport.py", "    _unacknowledged.ack = _acknowledge_or_release\n",
        ("tests/unit/contract/cluster/test_transport.py",)),
    Guard("producer/cluster/reserve.py", "if free < SCARCE:", _RESERVE, "if False:"),
    Guard("producer/cluster/reserve.py", "elif free >= PLENTY and", _RESERVE, "elif"),
    Guard("producer/cluster/reserve.py", "        path.unlink(missing_ok=True)\n", _RESERVE, "        pass\n"),
    Guard("producer/job/troubles.py", "        self._known = dict(found)\n", _TROUBLES),
    Guard("producer/job/observer.py", "and now - self._asked >= self._every:", _OBSERVER, ":"),
    Guard("producer/job/observer.py", "        except UNREACHABLE:\n", _OBSERVER, "        except KeyError:\n"),
    Guard("worker/lifecycle.py", '        app.steps["worker"].add(_leaving(self._watch))\n', _TOLD),
    Guard("worker/lifecycle.py", "        signals.worker_process_init.connect(self._begin_process, weak=False)\n",
        _TOLD),
    Guard(_DEPARTURE, "if self._is_stopping or number == signal.SIGQUIT:", _TOLD, "if self._is_stopping:"),
    Guard(_DEPARTURE, "if self._is_stopping or number == signal.SIGQUIT:", _TOLD, "if number == signal.SIGQUIT:"),
    Guard(_DEPARTURE, "        self._exit_after(self._within, f", _TOLD, "        str(f"),
    Guard(_DEPARTURE, "(signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)", _TOLD, "(signal.SIGTERM, signal.SIGQUIT)"),
    Guard(_DEPARTURE, "            self._stop(number, frame)\n", _TOLD, "            pass\n"),
)  # fmt: skip
