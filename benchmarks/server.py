"""The one server of the race: an nginx on loopback, its certificate, and the late link to it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import relay
from benchmarks.corpora import MB, Link, Row, file_name, host
from benchmarks.meter import cpu_seconds, tree_below

HOSTS = 200
CAP = 4 * MB  # bytes/s per connection on the capped link
_WITHIN = 10.0  # seconds a server may take to start

_CONFIG = """
{user}worker_processes auto; worker_rlimit_nofile 20000; daemon off;
pid {folder}/nginx.pid; error_log {folder}/nginx.log warn;
events {{ worker_connections 8192; }}
http {{
  default_type application/octet-stream; access_log off; server_tokens off;
  sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 1000000; keepalive_timeout 75s;
  open_file_cache max=20000 inactive=600s; open_file_cache_valid 600s;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  root {corpora};
  server {{ listen 0.0.0.0:{plain} backlog=8192; }}
  server {{ listen 0.0.0.0:{capped} backlog=8192; limit_rate {cap}; }}
  ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.key;
  ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:race:20m; ssl_session_timeout 1h;
  server {{ listen 0.0.0.0:{tls} ssl backlog=8192; }}
  server {{ listen 0.0.0.0:{http2} ssl http2 backlog=8192; }}
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running nginx and how to reach it."""

    plain: int  # port
    tls: int
    http2: int
    capped: int
    corpora: Path
    authorities: Path  # PEM: this machine's usual bundle and our own authority, as a client in the field would load
    roots: tuple[int, ...]  # pids: nginx's master and, where it runs, the relay
    has_late_link: bool

    def base(self, row: Row, number: int = 0) -> str:
        """Return scheme, address and port of a row's n-th host."""
        if row.link is not Link.LOOPBACK:
            return f"http://{relay.FAR}:{self.capped if row.link is Link.CAPPED else self.plain}"
        address = "127.0.0.1" if row.hosts == 1 else address_of(number)
        if row.tls:
            return f"https://{address}:{self.http2 if row.http2 else self.tls}"
        return f"http://{address}:{self.plain}"

    def urls(self, row: Row) -> list[str]:
        return [f"{self.base(row, host(row, index))}/{row.bodies}/{file_name(index)}" for index in range(row.files)]

    def cpu(self) -> float:
        """Return the CPU seconds server and relay have used so far."""
        return cpu_seconds(pid for root in self.roots for pid in (root, *tree_below(root)))


def address_of(number: int) -> str:
    """Return the loopback address of a host: each is a host of its own to every client, and needs no name server."""
    return f"127.1.{number // 100}.{number % 100 + 1}"


@contextlib.contextmanager
def running(folder: Path, *, late: bool) -> Iterator[Server]:
    """Start nginx, and the late link when a row needs it; end both on leaving.

    Raises:
        FileNotFoundError: nginx or openssl is not installed.
        TimeoutError: a server did not come up.
    """
    corpora = folder / "corpora"
    corpora.mkdir(parents=True, exist_ok=True)
    addresses = ("127.0.0.1", *(address_of(number) for number in range(HOSTS)))
    authorities = certify(folder, ",".join(f"IP:{address}" for address in addresses))
    plain, tls, http2, capped = free_ports(4)
    user = f"user {user_name()};\n" if os.geteuid() == 0 else ""
    ports = {"plain": plain, "tls": tls, "http2": http2, "capped": capped}
    config = _CONFIG.format(user=user, folder=folder, corpora=corpora, cap=CAP, **ports)
    (folder / "nginx.conf").write_text(config, "utf-8")
    with contextlib.ExitStack() as stack:
        link = _start_link(stack) if late else None
        nginx = stack.enter_context(
            process(["nginx", "-e", str(folder / "nginx.log"), "-c", str(folder / "nginx.conf")])
        )
        await_port(plain, nginx)
        roots = (nginx.pid, link.pid) if link else (nginx.pid,)
        yield Server(**ports, corpora=corpora, authorities=authorities, roots=roots, has_late_link=link is not None)


@contextlib.contextmanager
def work_folder(asked: Path | None) -> Iterator[Path]:
    """Make a folder for bodies and outputs, in memory where that is possible, and remove it on leaving."""
    place = asked or (Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None)
    if place is not None:
        place.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="race-", dir=place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def user_name() -> str:
    import pwd  # Unix only, like all of this

    return pwd.getpwuid(os.geteuid()).pw_name


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@contextlib.contextmanager
def process(argv: Sequence[str], stdout: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(argv, stdout=stdout)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(_WITHIN)
        if process.stdout:
            process.stdout.close()


def _start_link(stack: contextlib.ExitStack) -> subprocess.Popen[bytes] | None:
    """Start the relay; None where this process may not create a TUN device."""
    link = stack.enter_context(process([sys.executable, "-P", relay.__file__], stdout=subprocess.PIPE))
    assert link.stdout is not None
    return link if link.stdout.readline() == b"ready\n" else None


def await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    give_up_at = time.monotonic() + _WITHIN
    while time.monotonic() < give_up_at and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise TimeoutError("nginx did not start; its log is in the benchmark's folder")


def certify(folder: Path, names: str) -> Path:
    """Make an authority and a certificate for ``names`` (in openssl's words); return the bundle clients load."""
    bundle = folder / "authorities.pem"
    if bundle.exists():
        return bundle
    (folder / "names.cnf").write_text(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\n", "utf-8")
    new_key = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"]
    _quietly(
        [*new_key, "-x509", "-days", "30", "-subj", "/CN=Benchmark authority", "-keyout", "ca.key", "-out", "ca.pem"],
        folder,
    )
    _quietly([*new_key, "-subj", "/CN=Benchmark server", "-keyout", "server.key", "-out", "server.csr"], folder)
    signing = [
        "openssl",
        "x509",
        "-req",
        "-in",
        "server.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "30",
    ]
    _quietly([*signing, "-extfile", "names.cnf", "-out", "server.pem"], folder)
    bundle.write_bytes(_usual_authorities() + (folder / "ca.pem").read_bytes())
    return bundle


def _usual_authorities() -> bytes:
    """Return this machine's CA bundle: loading some 140 authorities is part of what TLS costs a client in the field."""
    system = Path("/etc/ssl/certs/ca-certificates.crt")
    if system.exists():
        return system.read_bytes()
    import certifi

    return Path(certifi.where()).read_bytes()


def _quietly(argv: Sequence[str], folder: Path) -> None:
    done = subprocess.run(argv, cwd=folder, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv[:2])} failed: {done.stderr.decode(errors='replace').strip()[-300:]}")
