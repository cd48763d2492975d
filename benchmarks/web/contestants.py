"""Who runs row W: a command each, with the list's number in flight, ten seconds and three attempts."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.client import REPOSITORY
from benchmarks.web.ideal import ATTEMPTS, TIMEOUT
from benchmarks.web.link import NETWORK
from benchmarks.web.listing import IN_FLIGHT, Listing
from benchmarks.web.site import Site

_DEFAULT_TRANSFERS = 128  # of each process, unless told


@dataclass(frozen=True, slots=True)
class Place:
    """Where a client's turn takes place."""

    listing: Listing
    site: Site
    folder: Path
    output: Path

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text, "utf-8")
        return str(path)

    def urls(self) -> str:
        return self.write("urls.txt", "".join(f"{line.url}\n" for line in self.listing.lines))


@dataclass(frozen=True, slots=True)
class Contestant:
    """``checkout`` is where its code is, if it is ours."""

    name: str
    command: Callable[[Place], Sequence[str]]
    is_there: Callable[[], bool] = lambda: True
    checkout: Path = REPOSITORY

    def environment(self, place: Place) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
        ours = {"PYTHONPATH": str(self.checkout), "PYTHONWARNINGS": "ignore"}
        certificates = {"TRAWL_CA_FILE": str(place.site.authorities)}
        return {**kept, **ours, **certificates, "LC_ALL": "C.UTF-8", "HOME": str(place.folder)}


def contestants(against: Path | None) -> list[Contestant]:
    """Return all there are; ``against`` is another checkout, whose `trawl` takes part as well."""
    other = [] if against is None else [Contestant("trawl-against", _trawl, checkout=against.resolve())]
    return [
        Contestant("trawl", _trawl),
        *other,
        Contestant("trawl-default", _trawl_as_it_comes),
        Contestant("trawl-one-process", _trawl_in_one_process),
        Contestant("libcurl", _libcurl),
        Contestant("aria2", _aria2, lambda: shutil.which("aria2c") is not None),
    ]


def _run(place: Place) -> list[str]:
    argv = [sys.executable, "-P", "-m", "producer", "run", place.urls(), "-o", str(place.output)]
    return [*argv, "--allow-net", NETWORK, "--json"]


def _trawl(place: Place) -> list[str]:
    each = max(1, place.listing.in_flight // (os.cpu_count() or 1))
    return [*_run(place), "--transfers", str(each), "--timeout", f"{TIMEOUT:g}", "--attempts", str(ATTEMPTS)]


def _trawl_in_one_process(place: Place) -> list[str]:
    """What connections cost where each host has one home."""
    return [*_trawl(place), "--processes", "1", "--transfers", str(place.listing.in_flight)]


def _trawl_as_it_comes(place: Place) -> list[str]:
    """With its default options; a smaller list has a smaller window, so that it takes as long."""
    each = max(1, _DEFAULT_TRANSFERS * place.listing.in_flight // IN_FLIGHT)
    return [*_run(place), *(["--transfers", str(each)] if each != _DEFAULT_TRANSFERS else [])]


def _libcurl(place: Place) -> list[str]:
    argv = [sys.executable, "-P", "-m", "benchmarks.web.bare", place.urls(), str(place.output)]
    limits = ["--timeout", f"{TIMEOUT:g}", "--attempts", str(ATTEMPTS)]
    return [*argv, "--in-flight", str(place.listing.in_flight), *limits]


def _aria2(place: Place) -> list[str]:
    listed = "".join(f"{line.url}\n out={line.name}\n" for line in place.listing.lines)
    argv = ["aria2c", "--no-conf", "-q", "--download-result=hide", "--summary-interval=0", "--file-allocation=none"]
    argv += ["-d", str(place.output), "-j", str(place.listing.in_flight), "--disable-ipv6", "--allow-overwrite=true"]
    argv += ["--ca-certificate", str(place.site.authorities), "--timeout", f"{TIMEOUT:g}", "--connect-timeout"]
    argv += [f"{TIMEOUT:g}", "--lowest-speed-limit", "100", "--max-tries", str(ATTEMPTS), "--retry-wait", "1"]
    return [*argv, "-i", place.write("aria2.txt", listed)]
