"""The web of row W on one machine: nginx for all hosts, its fates and names, and the link that leads there."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from benchmarks.client import REPOSITORY
from benchmarks.corpora import body
from benchmarks.meter import cpu_seconds, tree_below
from benchmarks.server import await_port, certify, free_ports, process, user_name
from benchmarks.web.listing import DOMAIN, HTTP2, PLAIN, TLS, Listing

_CONFIG = """
{user}worker_processes auto; worker_rlimit_nofile 20000; daemon off;
pid {folder}/nginx.pid; error_log {folder}/nginx.log crit;
events {{ worker_connections 8192; }}
http {{
  default_type application/octet-stream; access_log off; server_tokens off;
  sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 1000000; keepalive_timeout 75s;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.key;
  ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:web:20m; ssl_session_timeout 1h;
  server {{
    listen 0.0.0.0:{plain} backlog=8192; listen 0.0.0.0:{tls} ssl backlog=8192;
    listen 0.0.0.0:{http2} ssl http2 backlog=8192;
    location /good/ {{ root {folder}; }}
    location /missing/ {{ return 404; }}
    location /forbidden/ {{ return 403; }}
    location ~ ^/moved/([0-9]+)/[0-9]+/(https?)/(.+)$ {{ return 302 $2://$3/good/$1; }}
    location / {{ proxy_pass http://127.0.0.1:{fates}; proxy_buffering off; proxy_read_timeout 1h; }}
  }}
  server {{ listen 127.0.0.1:{status}; location / {{ stub_status; }} }}
}}
"""


@dataclass(frozen=True, slots=True)
class Site:
    """``bodies`` holds what each URL's body must be, by the URL's number."""

    authorities: Path
    bodies: Path
    roots: tuple[int, ...]
    status: int  # nginx' port for that
    orders: IO[str]
    answers: IO[str]

    def cpu(self) -> float:
        """Return the CPU seconds that servers and link have used so far."""
        return cpu_seconds(pid for root in self.roots for pid in (root, *tree_below(root)))

    def accepted(self) -> int:
        """Return how many connections nginx has accepted so far; ours is one of them."""
        asked = ["curl", "-s", f"http://127.0.0.1:{self.status}/"]
        told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        return int(told.splitlines()[2].split()[0])

    def forget(self) -> None:
        """Forget what was asked for: the next client's first request is a first one."""
        self.orders.write("forget\n")
        self.orders.flush()
        self.answers.readline()


@contextlib.contextmanager
def running(listing: Listing, folder: Path) -> Iterator[Site]:
    """Start the web in this network namespace, which has nothing else; end it on leaving."""
    authorities = certify(folder, f"DNS:*.{DOMAIN}")
    bodies = _write_bodies(listing, folder / "good")
    names, distances = folder / "names.json", folder / "distances.json"
    names.write_text(json.dumps({host.name: host.address for host in listing.hosts}))
    distances.write_text(json.dumps({host.address: host.latency for host in listing.hosts}))
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with contextlib.ExitStack() as stack:
        link = stack.enter_context(_program("link", distances, environment))
        fates = stack.enter_context(_program("fates", names, environment))
        assert link.stdout is not None
        assert fates.stdout is not None
        assert fates.stdin is not None
        if link.stdout.readline() != "ready\n":
            raise RuntimeError("no TUN device here: run as root, or where users may make namespaces")
        (status,) = free_ports(1)
        ports = {"plain": PLAIN, "tls": TLS, "http2": HTTP2, "status": status, "fates": int(fates.stdout.readline())}
        user = f"user {user_name()};\n" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(_CONFIG.format(user=user, folder=folder, **ports))
        server = ["nginx", "-e", str(folder / "nginx.log"), "-c", str(folder / "nginx.conf")]
        nginx = stack.enter_context(process(server))
        await_port(PLAIN, nginx)
        yield Site(authorities, bodies, (link.pid, fates.pid, nginx.pid), status, fates.stdin, fates.stdout)


@contextlib.contextmanager
def _program(name: str, told: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-P", "-m", f"benchmarks.web.{name}", str(told)]
    started = subprocess.Popen(argv, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with started:
        try:
            yield started
        finally:
            started.kill()


def _write_bodies(listing: Listing, place: Path) -> Path:
    place.mkdir()
    for line in listing.lines:
        if line.is_happy:
            (place / str(line.number)).write_bytes(body(line.number, line.size))
    return place
