"""A real Prometheus of the test's own, on loopback, where Debian's package `prometheus` is installed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.processes import await_condition, end, free_port

PROGRAM, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")

needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")
needs_prometheus = pytest.mark.skipif(
    PROGRAM is None or PROMTOOL is None, reason="Prometheus is not installed (Debian: prometheus)"
)

_SELECTOR = re.compile(r"\b((?:trawl|process|redis|flower)_\w+|up)\b(\{[^}]*\})?")


class Prometheus:
    """Scrapes every second; a context manager."""

    def __init__(self, folder: Path, targets: Mapping[str, int], *, rules: Path) -> None:
        """Describe it without starting it: `targets` are ports of loopback by their job's name."""
        self.folder = folder
        self._port = free_port()
        jobs = [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for job, port in targets.items()
        ]
        config = {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "rule_files": [str(rules)]}
        folder.mkdir()
        (folder / "prometheus.yml").write_text(yaml.safe_dump({**config, "scrape_configs": jobs}))

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of its HTTP API's answer."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/api/v1/{path}?{query}", timeout=60) as answer:
            found = json.loads(answer.read())
        assert found["status"] == "success", found
        return found["data"]

    def values(self, expression: str) -> list[float]:
        """Return what an expression is now, one value for each series."""
        return [float(each["value"][1]) for each in self.ask("query", query=expression)["result"]]

    def is_ready(self) -> bool:
        try:
            self.ask("status/runtimeinfo")
        except OSError:
            return False
        return True

    def __enter__(self) -> Prometheus:
        command = [
            str(PROGRAM),
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
        ]
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        await_condition(self.is_ready, within=60, what="Prometheus")
        return self

    def __exit__(self, *_: object) -> None:
        end(self._process)


def promtool(*arguments: str | Path, stdin: str | None = None) -> str:
    """Run promtool; return what it said, which the test shows where it failed."""
    ended = subprocess.run(
        [str(PROMTOOL), *map(str, arguments)], input=stdin, capture_output=True, text=True, timeout=300, check=False
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said
    return said


def selectors(expression: str) -> Iterator[str]:
    """Yield the series that an expression reads."""
    for name, labels in _SELECTOR.findall(expression):
        yield f"{name}{labels}"
