"""How the server of the run that works in a folder is found: by a note beside its data."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path

from contract.errors import FolderError
from producer import formatting

_VARIABLES = ("TRAWL_BROKER_URL", "TRAWL_RESULT_BACKEND", "TRAWL_PREFIX", "TRAWL_QUEUE", "TRAWL_LEASE", "TRAWL_KEEP")
_SERVER, _NOTE = "redis", "address.json"
_ANSWERS_WITHIN = 5.0  # seconds


def note_address(state: Path, path: str, environment: Mapping[str, str]) -> None:
    """Note how to reach the server; the note is removed with the server's data.

    ``state`` is our own folder within the output folder, ``environment`` that of the worker.
    """
    variables = {name: environment[name] for name in _VARIABLES if name in environment}
    (state / _SERVER / _NOTE).write_text(json.dumps({"socket": path, "variables": variables}), "utf-8")


def noted_variables(state: Path) -> Mapping[str, str] | None:
    """Return the environment variables that lead to the server of the run that works here now; None: none does.

    Raises:
        FolderError: the folder belongs to another user.
    """
    try:
        found = json.loads((state / _SERVER / _NOTE).read_text("utf-8"))
        if not _answers(found["socket"]):
            return None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        return None  # being written
    except PermissionError:
        shown = formatting.path(state.parent)
        raise FolderError(f"What runs in {shown} belongs to another user, and only they can look at it.") from None
    return dict(found["variables"])


def _answers(path: str) -> bool:
    """Does a server listen there? One that was killed leaves its socket behind.

    Raises:
        PermissionError: the socket belongs to another user.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_ANSWERS_WITHIN)
        try:
            probe.connect(path)
        except PermissionError:
            raise
        except OSError:
            return False
        return True
