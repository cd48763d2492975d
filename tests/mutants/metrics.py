"""The guards of a worker's metrics: where they are served, of what, and for how long."""

from __future__ import annotations

from tests.mutants.guard import Guard

_TESTS = "tests/integration/test_metrics.py"
_SETTING = ("tests/unit/worker/test_settings.py",)
_SECRETS = ("tests/acceptance/test_secrets.py", "-k", "metrics or shows_a_secret")

_TOLD = ("tests/unit/worker/test_events.py",)
_STATES = ("tests/integration/test_flower_states.py",)
_ACCESS = ("tests/integration/test_flower_access.py",)
_FLOWER = "worker/flower_access.py"

_METRICS = "worker/adapters/metrics.py"
_METER = "worker/listeners/metrics.py"
_ROWS = "worker/listeners/flower.py"
_SHOWN = ("tests/unit/worker/listeners/test_flower.py",)
_METERING = "worker/metering.py"
_LOOK = "contract/ledger/lua/overview.lua"
_LOOKED = ("tests/integration/ledger/test_overview.py",)
_RUNNER = "worker/batch/runner.py"
_EXPORTER = "producer/commands/exporter.py"
_CLUSTER = ("tests/integration/test_exporter.py",)


def _does(file: str, text: str, test: str, instead: str = "") -> Guard:
    return Guard(file, text, (f"{_TESTS}::{test}",), instead)


GUARDS = (
    _does(_METRICS, "os.register_at_fork(after_in_child=self._server.socket.close)",
        "test_a_killed_worker_leaves_neither_port_nor_folder_behind", "pass"),
    _does(_METERING, "        _reap()\n", "test_a_killed_worker_leaves_neither_port_nor_folder_behind"),
    _does(_METERING, "fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "test_a_second_worker_on_the_same_port_is_refused_in_one_sentence", "pass"),
    _does(_METERING, "            raise SettingError(\n",
        "test_a_second_worker_on_the_same_port_is_refused_in_one_sentence", "            str(\n"),
    _does(_METERING, "if self._port is not None and os.getpid() == self._main:",
        "test_every_pool_counts_what_it_reported", "if False:"),
    _does(_METER, "values.ValueClass = values.MultiProcessValue()", "test_every_pool_counts_what_it_reported",
        "values.MultiProcessValue()"),
    _does(_METRICS, 'if match and not _is_alive(int(match["pid"])):',
        "test_urls_in_progress_are_those_not_reported_yet", "if False:"),
    _does("worker/wiring.py", "self._settings.proxy()  #", "test_an_invalid_setting_ends_the_worker_at_once",
        "self._settings  #"),
    _does("worker/wiring.py", "self._settings.certificates(environment)  #",
        "test_an_invalid_setting_ends_the_worker_at_once", "\"\"  #"),
    Guard("contract/cluster/listening.py", 'if ":" in written else ("127.0.0.1", "", written)', _SETTING,
        'if ":" in written else ("0.0.0.0", "", written)'),
    _does(_METER, "        made.labels(*values)  # so that rates", "test_every_pool_counts_what_it_reported",
        "        pass  # rates"),
    _does(_METER, "                self._lost.inc()\n", "test_a_lost_lease_is_counted",
        "                pass\n"),
    _does(_RUNNER, "            self._count_flying([])\n", "test_transfers_in_flight_are_counted_until_they_are_over",
        "            pass\n"),
    _does("worker/sweeps.py", "self._listener.notify(LedgerSwept(findings))",
        "test_hand_offs_and_sweeps_are_counted", "pass"),
    _does("worker/adapters/processes.py", "    seen = [main, *children.values()]\n",
        "test_every_pool_counts_what_it_reported", "    seen = [main]\n"),
    # What the cluster's exporter shows, and where.
    Guard(_EXPORTER, "{**dict.fromkeys(metric.series, 0.0), **values}", _CLUSTER, "values"),
    Guard(_EXPORTER, "        except RedisTrouble as error:\n", _CLUSTER,
        "        except ZeroDivisionError as error:\n"),
    Guard(_LOOK, "  waiting = waiting - in_line\n", _LOOKED),
    Guard(_LOOK, "  if ends > now * 1000 then", _LOOKED, "  if true then"),
    Guard("producer/commands/doctor.py", "    if min(unclaimed, seen.oldest_wait) <= _LONG_UNCLAIMED:\n",
        ("tests/unit/producer/commands/test_doctor.py",), "    if seen.oldest_wait <= _LONG_UNCLAIMED:\n"),
    Guard("worker/own_services.py", "        yield metrics\n",
        ("tests/unit/worker/test_own_services.py::test_metrics_and_egress_proxy_are_own_services",), "        pass\n"),
    # A host in an error's label would disclose a list to all who may see the metrics.
    Guard(_METER, 'Counter((outcome.ending, outcome.error or "") for outcome in report.outcomes)', _SECRETS,
        'Counter((outcome.ending, outcome.url) for outcome in report.outcomes)'),
    # What Flower's search finds.
    Guard(_ROWS, 'exception=line, result=line, traceback="")  # its search', _SHOWN,
        'exception=line, traceback="")  # its search'),
    Guard(_ROWS, 'exception=event.line, result=event.line, traceback="")', _STATES,
        'exception=event.line, traceback="")'),
    Guard(_ROWS, "        self._put(\"task-started\", claim, timestamp=began, **fields)\n", _SHOWN,
        "        self._put(\"task-progress\", claim, timestamp=began, **fields)\n"),
    Guard(_ROWS, "and self._clock() >= row.due:", _SHOWN, ":"),
    Guard(_ROWS, "(event.trouble is None) == (not self._task):", _SHOWN, "False:"),
    Guard(_ROWS, "                self._task = task\n", _SHOWN),
    # Which listeners are notified.
    Guard("worker/events.py", "                except Exception as error:\n", _TOLD,
        "                except ZeroDivisionError as error:\n"),
    Guard("worker/events.py", "if failure not in self._failed:", _TOLD, "if True:"),
    Guard("worker/events.py", "else about_the_worker()", _TOLD, "else nullcontext()"),
    # Where Flower listens.
    Guard(_FLOWER, "options.address = options.address or _LOOPBACK", _ACCESS, "options.address = options.address"),
    Guard(_FLOWER, "if logins or has_provider or _is_loopback(address):", _ACCESS, "if True:"),
    Guard(_FLOWER, "if not all(_LOGIN.fullmatch(login) for login in logins):", _ACCESS, "if False:"),
    Guard("worker/command.py", "    import worker.celery  # noqa: F401\n", ("tests/integration/test_doors.py",), ""),
    Guard("producer/commands/preparation.py", "        check_port_is_free(port)\n",
        ("tests/integration/test_flower_access.py", "-k", "starts_nothing"), "        pass\n"),
)  # fmt: skip
