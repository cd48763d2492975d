"""A RabbitMQ of a test's own: its node, its ports, its data below one folder, and nothing left when it is closed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

from tests.support.processes import await_condition, free_port, is_alive, session_of

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # what Debian's wrapper on PATH runs as another user
_PORT_MAPPER = shutil.which("epmd")


def is_installed() -> bool:
    return SERVER.exists() and _PORT_MAPPER is not None


class Rabbit:
    """One node with the user guest; a context manager. ``kill`` and ``start`` bring back what its disk holds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._mapper_port = free_port()
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),  # Erlang's cookie
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"trawl{self._port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2",
        }
        self._mapper: subprocess.Popen[bytes] | None = None
        self._node: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self._port}//"

    def __enter__(self) -> Rabbit:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._mapper = self._run(str(_PORT_MAPPER), "-port", str(self._mapper_port), "-address", "127.0.0.1")
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()
        _kill(self._mapper)

    def start(self) -> Rabbit:
        self._node = self._run(str(SERVER))
        await_condition(self._is_up, within=30.0, what="RabbitMQ to listen")
        return self

    def kill(self) -> None:
        """SIGKILL the node and what it started, as a machine that goes down."""
        _kill(self._node)

    def _run(self, *command: str) -> subprocess.Popen[bytes]:
        with (self._folder / Path(command[0]).name).open("wb") as said:
            return subprocess.Popen(
                command, env=self._environment, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                start_new_session=True,
            )  # fmt: skip

    def _is_up(self) -> bool:
        return b"Starting broker... completed" in (self._folder / SERVER.name).read_bytes()


def _kill(process: subprocess.Popen[bytes] | None) -> None:
    """End a process and all of its session; the node is a grandchild of the script that starts it."""
    if process is None:
        return
    family = [process.pid, *session_of(process.pid)]
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    await_condition(lambda: not any(is_alive(pid) for pid in family), within=10.0, what="RabbitMQ to be gone")
