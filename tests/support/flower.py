"""A real Flower with a login, as a user would start it beside a worker."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.celery_worker import PROJECT
from tests.support.processes import await_condition, end, free_port

LOGIN = "trawl:fl0w3rfl0w3r"


class Flower:
    """Starts when its with block begins, and is ready once it has heard of a worker: then it hears of tasks, too."""

    def __init__(self, environment: Mapping[str, str], folder: Path, *, options: tuple[str, ...] = ()) -> None:
        """Describe it without starting it; `environment` names the broker, the log goes to `folder`."""
        self.log_path = folder / "flower.log"
        self._port = free_port()
        self._environment = {**environment, "PATH": os.environ["PATH"], "FLOWER_BASIC_AUTH": LOGIN}
        self._command = [
            *(sys.executable, "-m", "celery", "-A", "worker", "flower"),
            *("--address=127.0.0.1", f"--port={self._port}", *options),
        ]

    def page(self, path: str) -> bytes:
        """Return what it shows; nothing where it shows an error, or is not there yet."""
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}{path}")
        request.add_header("Authorization", "Basic " + base64.b64encode(LOGIN.encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return bytes(response.read())
        except OSError:
            return b""

    def await_page(self, path: str) -> bytes:
        """Return a page that is there only once a worker has answered Flower, which gives it a second each time."""
        return await_condition(lambda: self.page(path), within=30, what=f"Flower's page {path}")

    def read(self, path: str) -> Any:
        """Return the reply of an address of the API; an empty object if there is none."""
        return json.loads(self.page(path) or b"{}")

    def __enter__(self) -> Flower:
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, cwd=PROJECT, stdout=log, stderr=log)
        await_condition(lambda: self.read("/workers?json=1").get("data"), within=40, what="Flower hearing of a worker")
        return self

    def __exit__(self, *_: object) -> None:
        end(self._process)
