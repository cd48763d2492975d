"""Trawlnet for scripts: one import for all that a program needs to enqueue URLs and collect their outcomes.

    import trawlnet

    with trawlnet.connect(output="out") as client:
        for outcome in client.enqueue(["https://example.com/"]).outcomes():
            print(outcome.url, outcome.ending)

docs/python.md describes every name. What is not in ``__all__`` may change with any release.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contract import __version__
    from contract.errors import (
        AccountingError,
        FolderError,
        InputError,
        JobStateError,
        MessageError,
        ServiceError,
        SettingError,
        TrawlError,
        UnknownJobError,
    )
    from contract.ledger.values import JobState
    from contract.records.credentials import Credentials
    from contract.records.outcomes import Attempt, Ending, ErrorClass, Outcome, Timing
    from contract.records.policy import Digest, JobPolicy, Sync
    from contract.urls.naming import Layout, output_name
    from producer.api.futures import Submitter, UrlError, UrlFuture
    from producer.api.jobs import Client, Job, connect

__all__ = [
    "AccountingError",
    "Attempt",
    "Client",
    "Credentials",
    "Digest",
    "Ending",
    "ErrorClass",
    "FolderError",
    "InputError",
    "Job",
    "JobPolicy",
    "JobState",
    "JobStateError",
    "Layout",
    "MessageError",
    "Outcome",
    "ServiceError",
    "SettingError",
    "Submitter",
    "Sync",
    "Timing",
    "TrawlError",
    "UnknownJobError",
    "UrlError",
    "UrlFuture",
    "__version__",
    "connect",
    "output_name",
]

# Each name's module, imported on first use: Celery takes 0.2 s, which `trawlnet.JobPolicy` does not need.
_MODULES = {
    "contract": ("__version__",),
    "contract.errors": (
        "AccountingError",
        "FolderError",
        "InputError",
        "JobStateError",
        "MessageError",
        "ServiceError",
        "SettingError",
        "TrawlError",
        "UnknownJobError",
    ),
    "contract.ledger.values": ("JobState",),
    "contract.records.credentials": ("Credentials",),
    "contract.records.outcomes": ("Attempt", "Ending", "ErrorClass", "Outcome", "Timing"),
    "contract.records.policy": ("Digest", "JobPolicy", "Sync"),
    "contract.urls.naming": ("Layout", "output_name"),
    "producer.api.futures": ("Submitter", "UrlError", "UrlFuture"),
    "producer.api.jobs": ("Client", "Job", "connect"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            value = globals()[name] = getattr(import_module(module), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


def _refuse_hidden_packages() -> None:
    """Raise ImportError if a module of the user hides one of our packages.

    Python searches the script's folder first, and ``worker.py`` and ``producer.py`` are common names.
    """
    ours = Path(__file__).resolve().parent.parent
    for package in ("contract", "producer", "worker"):
        spec = find_spec(package)
        found = Path(spec.origin).resolve() if spec is not None and spec.origin else None
        if found != ours / package / "__init__.py":
            hiding = found or package
            raise ImportError(f"{hiding} hides the package {package!r} of Trawlnet: rename it, or run elsewhere.")


_refuse_hidden_packages()
