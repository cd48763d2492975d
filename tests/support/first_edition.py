"""The first edition, 31f4598: a checkout from this repository's own history, run by this Python."""

from __future__ import annotations

import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from tests.support.celery_worker import PROJECT

COMMIT = "31f4598"

# It wrote rows with orjson, which this version does not install.
_ORJSON = """
import json

JSONEncodeError, JSONDecodeError, loads = TypeError, ValueError, json.loads


def dumps(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
"""


def check_out(folder: Path) -> Path:
    """Put the first edition into a folder and return that; skip where the history does not reach back so far."""
    command = ["git", "-C", str(PROJECT), "archive", "--format=tar", COMMIT]
    archived = subprocess.run(command, capture_output=True, check=False)
    if archived.returncode:
        pytest.skip(f"{COMMIT} is not in this checkout's history: {archived.stderr.decode().strip()[:80]}")
    with tarfile.open(fileobj=BytesIO(archived.stdout)) as archive:
        archive.extractall(folder, filter="data")
    (folder / "orjson.py").write_text(_ORJSON)
    return folder
