"""Which cluster a command means: the configured one, or the server of the run that works in a folder."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path

from contract.cluster.settings import ClusterSettings, is_configured
from contract.errors import FolderError
from producer import formatting

_VARIABLES = ("TRAWL_BROKER_URL", "TRAWL_RESULT_BACKEND", "TRAWL_PREFIX", "TRAWL_QUEUE", "TRAWL_LEASE", "TRAWL_KEEP")
_SERVER, _NOTE = "redis", "address.json"
_ANSWERS_WITHIN = 5.0  # seconds


def configured(environment: Mapping[str, str]) -> ClusterSettings | None:
    """Return the cluster that the environment names; None: it names none, and a run starts services of its own.

    Raises:
        SettingError: a value cannot be used.
    """
    return ClusterSettings.from_environment(environment) if is_configured(environment) else None


def cluster_of(state: Path, environment: Mapping[str, str]) -> ClusterSettings | None:
    """Return the cluster a folder's job is on: the server of the run that works there, else the configured one.

    None: no run works there now, and no cluster is configured.

    Raises:
        FolderError: the folder is closed to us.
        SettingError: a value cannot be used.
    """
    return server_at(state, environment) or configured(environment)


def note_address(state: Path, path: str, environment: Mapping[str, str]) -> None:
    """Write down beside the server's data how it is reached; with these it goes.

    ``state`` is our own folder within the output folder, ``environment`` that of the worker.
    """
    variables = {name: environment[name] for name in _VARIABLES if name in environment}
    (state / _SERVER / _NOTE).write_text(json.dumps({"socket": path, "variables": variables}), "utf-8")


def server_at(state: Path, environment: Mapping[str, str]) -> ClusterSettings | None:
    """Return how the server of a run that works in this folder now is reached; None: none does.

    Raises:
        FolderError: the folder is closed to us.
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
        raise FolderError(f"What runs in {shown} is another user's, and only they can look at it.") from None
    plain = {name: value for name, value in environment.items() if not name.startswith("CELERY_")}
    return ClusterSettings.from_environment({**plain, **found["variables"]})


def _answers(path: str) -> bool:
    """Does a server listen there? One that was killed leaves its socket.

    Raises:
        PermissionError: it is another user's.
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
