"""The guards of where a run may be: its temporary folders, its environment, its limits."""

from __future__ import annotations

from tests.mutants.guard import Guard

_SOCKET = "producer/cluster/socket_folder.py"
_SOCKET_TOLD = ("tests/unit/producer/cluster/test_socket_folder.py",)
_ANY_FOLDER = ("tests/acceptance/test_run.py::test_a_run_works_with_any_temporary_folder",)
_POOLS = "worker/pools.py"
_POOLS_TOLD = ("tests/unit/worker/test_pools.py",)
_REFUSED = ("tests/integration/test_worker.py::test_a_pool_that_cannot_run_batches_ends_the_worker_at_once",)
_URLS = "contract/cluster/service_urls.py"
_SETTINGS = "contract/cluster/settings.py"
_URLS_TOLD = ("tests/unit/contract/cluster/test_service_urls.py",)
_WARNED = ("tests/integration/test_start.py::test_warnings_never_end_a_command_whatever_the_environment",)
_VARIABLES_TOLD = ("tests/unit/producer/cli/test_variables_told.py",)
_VARIABLES_KNOWN = ("tests/unit/contract/cluster/test_variables.py",)
_NO_EFFECT = ("tests/integration/test_worker.py::test_a_worker_names_variables_that_have_no_effect",)
_PROXY_TOLD = ("tests/acceptance/test_run.py::test_an_ignored_proxy_variable_is_reported",)
_FILES = "contract/open_files.py"
_FILES_TOLD = ("tests/unit/contract/test_open_files.py",)
_NO_FAULT = ("tests/unit/worker/adapters/http/test_handle.py",)
_BESIDE = ("tests/unit/worker/test_descriptors.py",)
_FEW = ("tests/acceptance/test_run.py::test_few_descriptors_mean_few_transfers_but_no_failed_url",)
_TOO_FEW = ("tests/acceptance/test_run.py::test_too_few_descriptors_to_work_are_one_sentence",)
_NO_POLL = ("tests/integration/test_worker.py::test_a_worker_without_poll_reports_it_whatever_its_log_is",)

GUARDS = (
    Guard("producer/cluster/embedded.py", "{quote(self._socket)}", _ANY_FOLDER, "{self._socket}"),
    Guard(_SOCKET, '        path.encode("utf-8")  # it becomes part of a URL\n', _SOCKET_TOLD),
    Guard(_SOCKET, "filter(_is_safe, _temporary_places(environment))", _SOCKET_TOLD, "_temporary_places(environment)"),
    Guard(_SOCKET, "    return not mode & (stat.S_IWGRP | stat.S_IWOTH) or bool", _SOCKET_TOLD, "    return bool"),
    Guard(_SOCKET, " or bool(mode & stat.S_ISVTX)", _SOCKET_TOLD, ""),
    Guard("worker/wiring.py", "            check_pool(worker)\n", _REFUSED),
    Guard(_POOLS, 'if pool == "eventlet":', _POOLS_TOLD, "if False:"),
    Guard(_POOLS, 'return None if hasattr(select, "poll") else _EVENTLET', _POOLS_TOLD, "return None"),
    Guard("worker/celery.py", "if trouble := patch_trouble():", _NO_POLL, "if trouble := None:"),
    Guard(_POOLS, " and not _is_patched_by_gevent()", _POOLS_TOLD, " and False"),
    Guard(_POOLS, '("thread", "threads", "solo")', _POOLS_TOLD, '("threads",)'),
    Guard(_URLS, "if _BLANK.search(url):", _URLS_TOLD, "if False:"),
    Guard(_URLS, '"#" in rest or ', _URLS_TOLD),
    Guard(_URLS, ' or "@" in path + query', _URLS_TOLD),
    Guard(_URLS, "if not _LOGIN.fullmatch(login):", _URLS_TOLD, "if False:"),
    Guard(_URLS, "if scheme in _NAMES_A_HOST and", _URLS_TOLD, "if False and"),
    Guard(_URLS, "0 < int(match[2]) < 65536", _URLS_TOLD, "True"),
    Guard(_URLS, "if scheme in _REDIS and not", _URLS_TOLD, "if False and not"),
    Guard(_URLS, 'return ";".join(map(_without_login, url.split(";")))', _URLS_TOLD, "return _without_login(url)"),
    Guard(_SETTINGS, '"" if each.metadata.get("is_secret") else ', _URLS_TOLD),
    Guard(_SETTINGS, '    if ";" in url:', _URLS_TOLD, "    if False:"),
    Guard(_SETTINGS, '        if environment.get(name, "").strip():  # celery', _URLS_TOLD,
        "        if False:  # celery"),
    Guard("worker/celery.py", "print_warnings()\n", _WARNED),
    Guard("producer/cli/__init__.py", "    print_warnings()\n", _WARNED),
    Guard("contract/interpreter.py", '"error".startswith(action)', _WARNED, 'action == "error"'),
    Guard("producer/cli/options.py", "error.param_hint = str(self.envvar)", _VARIABLES_TOLD, "pass"),
    Guard("producer/cli/commands.py", 'print(f"trawl: {hint}", file=sys.stderr)', _VARIABLES_TOLD, "pass"),
    Guard("producer/cli/translation.py", "parse_networks(set_for_all, setting=variable)", _VARIABLES_TOLD, "pass"),
    Guard("contract/cluster/variables.py", " and not _SERVICE_LINK.fullmatch(name)", _VARIABLES_KNOWN),
    Guard("worker/celery.py", 'sys.stderr.write(f"trawl: {hint}\\n")', _NO_EFFECT, "pass"),
    Guard("worker/wiring.py", "            logger.warning(self._ignored)\n", _NO_EFFECT, "            pass\n"),
    Guard("producer/commands/preparation.py", "        console.mention(hint)\n", _PROXY_TOLD, "        pass\n"),
    Guard("worker/adapters/http/handle.py", "            os.close(os.dup(lent.fileno()))", _NO_FAULT,
        "            pass"),
    Guard(_FILES, "if soft != resource.RLIM_INFINITY and soft < wanted:", _FILES_TOLD, "if False:"),
    Guard(_FILES, " // _PER_TRANSFER)", _FILES_TOLD, ")"),
    Guard(_FILES, "left - min(_SPARE, left // 3)", _FILES_TOLD, "left"),
    Guard("worker/downloader.py", "max(left - 2 * quiet, 1)", _BESIDE, "1000"),
    Guard("worker/downloader.py", "(left - window) // 2)", _BESIDE, "(left - max(_KEPT, 2 * window)) // 2)"),
    Guard("worker/downloader.py", "replace(settings, transfers=allowed)", _FEW, "settings"),
    Guard("producer/commands/preparation.py", "    if said:\n        console.echo(said)\n", _FEW),
    Guard("producer/commands/preparation.py", "        raise SettingError(said)\n", _TOO_FEW, "        pass\n"),
)  # fmt: skip
