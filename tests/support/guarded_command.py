"""The command ``trawl run`` in a guarded world, with every Python process of it watched: scenarios for a netbox."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.dns_stub import Reply
from tests.support.egress_proxy import EgressProxy
from tests.support.guarded_world import (
    EGRESS,
    EVERYTHING,
    LOGIN,
    OTHER_PUBLIC,
    PORT,
    PROXY_PORT,
    PUBLIC,
    PUBLIC_6,
    SITE,
    Found,
    World,
)
from tests.support.netbox import PROJECT
from tests.support.spellings import DENIED_ADDRESSES, distinct, name_spellings, spellings

# Read by every Python that starts with this folder on its path. Audit events are PEP 578's; C code raises none, so
# libcurl's connections do not show here, and Python's all do.
_WATCH = """
import os, sys
_WATCHED = {"socket.connect", "socket.sendto", "socket.sendmsg", "urllib.Request", "http.client.connect",
            "subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "ftplib.connect", "smtplib.connect"}
_out = os.open(os.environ["WATCHED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
_program = " ".join(sys.orig_argv)
def _note(event, args):
    if event in _WATCHED:
        shown = args[1] if event.startswith("socket.") else args[0]
        os.write(_out, repr((_program, event, shown)).encode() + b"\\n")
sys.addaudithook(_note)
"""


@dataclass(slots=True)
class Watched:
    """What a command did: the manifest's rows, its exit code, and what its Python processes connected to or started."""

    found: Found
    code: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    events: list[tuple[str, str, Any]] = field(default_factory=list)  # command line, event, its address or program
    summary: dict[str, Any] = field(default_factory=dict)
    said: str = ""  # on standard error

    @property
    def endings(self) -> dict[str, int]:
        return dict(Counter(row["outcome"] for row in self.rows))


def _run(world: World, lines: Sequence[bytes], *options: str, environment: Mapping[str, str]) -> Watched:
    with tempfile.TemporaryDirectory(prefix="guarded-") as name:
        folder = Path(name)
        (folder / "watch").mkdir()
        (folder / "watch" / "sitecustomize.py").write_text(_WATCH, "utf-8")
        (folder / "urls.txt").write_bytes(b"".join(line + b"\n" for line in lines))
        started = {
            "PATH": os.environ["PATH"],
            "HOME": name,
            "TMPDIR": name,
            "PYTHONPATH": f"{folder / 'watch'}{os.pathsep}{PROJECT}",
            "WATCHED": str(folder / "watched"),
            **environment,
        }
        run = ("run", "urls.txt", "-o", "out", "--processes", "1", "--json", *options)
        command = [sys.executable, "-P", "-m", "producer", *run]
        done = subprocess.run(command, cwd=folder, env=started, capture_output=True, timeout=280, check=False)
        watched = Watched(world.found, done.returncode, said=done.stderr.decode(errors="replace"))
        watched.summary = json.loads(done.stdout)
        manifest = folder / "out" / "manifest.jsonl"
        if manifest.exists():
            watched.rows = [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]
        # Values of our own child's; literals by construction.
        watched.events = [eval(line) for line in (folder / "watched").read_text("utf-8").splitlines()]
    return watched


def a_hostile_list() -> Watched:
    """All spellings of all closed addresses, redirects and names among good URLs, with proxy variables set."""
    with World() as world:
        hostile, good = [], [f"{SITE}/{number}" for number in range(30)] + [f"http://[{PUBLIC_6}]:{PORT}/"]
        for number, address in enumerate(DENIED_ADDRESSES):
            spelled = [each.url for each in distinct(spellings(address, port=PORT)) if "\n" not in each.url]
            name, mixed = f"c{number}.command.test", f"m{number}.command.test"
            world.dns.script(name, address)
            world.dns.script(mixed, address, PUBLIC)
            hostile += [*spelled, *world.redirects_to(spelled[:3]), *name_spellings(name, port=PORT)[:3]]
            good.append(f"http://{mixed}:{PORT}/")
        proxy = f"http://{OTHER_PUBLIC}:{PROXY_PORT}"
        names = ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY")
        lines = [url.encode() for url in (*hostile, *good)]
        watched = _run(world, lines, environment=dict.fromkeys(names, proxy))
    world.found.probes = len(hostile)
    world.found.counts = {"hostile": len(hostile), "good": len(good)}
    return watched


def what_a_hostile_list_found() -> Found:
    return a_hostile_list().found


def what_a_worker_forbids() -> Watched:
    """The command opens every network; the worker's environment closes one and names a service of its own."""
    with World() as world:
        world.dns.script("flower.test", Reply(PUBLIC))
        lines = [f"http://10.1.2.3:{PORT}/", f"http://8.8.8.8:{PORT}/", f"http://169.254.169.254:{PORT}/", f"{SITE}/"]
        environment = {"TRAWL_WORKER_DENY_NETS": "10.0.0.0/8 8.8.8.8", "TRAWL_OWN_SERVICES": f"{PUBLIC_6}:{PORT}"}
        environment["TRAWL_ALLOW_NETS"] = ",".join(EVERYTHING)
        lines.append(f"http://[{PUBLIC_6}]:{PORT}/")
        return _run(world, [line.encode() for line in lines], environment=environment)


def through_its_egress_proxy() -> Watched:
    """A proxy in the worker's settings, others in variables that programs read, and closed addresses in the list."""
    with World() as world, EgressProxy(EGRESS, PROXY_PORT, login=LOGIN) as proxy, tempfile.TemporaryDirectory() as name:
        login = Path(name) / "login"
        login.write_text(f"{LOGIN}\n", "utf-8")
        closed = [each.url for address in DENIED_ADDRESSES[:10] for each in distinct(spellings(address, port=PORT))]
        hostile = [url for url in closed if "\n" not in url] + [f"http://{EGRESS}:{PROXY_PORT}/"]
        lines = [*hostile, *(f"{SITE}/{number}" for number in range(20)), *world.redirects_to(hostile[:10])]
        environment = {
            "TRAWL_EGRESS_PROXY": f"http://{EGRESS}:{PROXY_PORT}",
            "TRAWL_EGRESS_LOGIN_FILE": str(login),
            "NO_PROXY": "*",
            "http_proxy": f"http://{OTHER_PUBLIC}:{PROXY_PORT}",
            "TRAWL_ALLOW_NETS": EGRESS,
        }
        watched = _run(world, [line.encode() for line in lines], environment=environment)
        told = {(one.host, one.port, one.login) for one in proxy.told}
        world.found.expect(told == {(PUBLIC, PORT, LOGIN)}, f"the proxy was told {told}")
        world.found.expect(world.site.connections == proxy.tunnels > 0, "not everything went through the proxy")
        shown = watched.said + json.dumps(watched.summary) + json.dumps(watched.rows)
        world.found.expect(LOGIN.partition(":")[2] not in shown, "the login was shown")
        world.found.count_of("hostile", len(hostile) + 10)
    return watched


def its_own_flower() -> Watched:
    """The command shows its tasks in Flower, and its list asks for Flower by every way there is to loopback."""
    port, own = 5556, f"{PUBLIC_6}:{PORT}"
    with World(sinks=()) as world:
        hosts = ("127.0.0.1", "localhost", "[::1]", "127.1.2.3", "2130706433", "[::ffff:127.0.0.1]", "flower.test")
        world.dns.script("flower.test", "127.0.0.1")
        lines = [f"http://{host}:{port}/api/tasks" for host in hosts] + [f"http://[{PUBLIC_6}]:{PORT}/"]
        options = ("--flower", "--flower-port", str(port), "--allow-net", "127.0.0.0/8", "--allow-net", "::1")
        encoded = [line.encode() for line in lines]
        return _run(world, encoded, *options, environment={"TRAWL_OWN_SERVICES": own})
