"""What an operator sets on a worker: where bodies go and how much it does at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from contract.errors import SettingError
from contract.settings import read_settings, seconds, setting, size, text, whole, words

_SYSTEM_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # macOS, BSD
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """The environment of a worker, read once by ``worker.wiring``."""

    output: str = setting(
        "TRAWL_OUTPUT", "./out", text, "Folder the bodies are stored in; `trawl run` sets it to its `-o`."
    )
    lanes: int = setting(
        "TRAWL_LANES", 1, whole(1), "Lanes per process: threads that each drive many transfers. One fills a core."
    )
    transfers: int = setting("TRAWL_TRANSFERS", 64, whole(1), "Transfers in flight per process, shared by its lanes.")
    drain: float = setting(
        "TRAWL_DRAIN",
        10.0,
        seconds(),
        "Seconds a worker told to stop lets transfers in flight go on before it hands them back.",
    )
    min_free: int = setting(
        "TRAWL_MIN_FREE",
        64 * 1024**2,
        size,
        "Free space to leave on the output's disk; below it the worker takes no work.",
    )
    deny_nets: tuple[str, ...] = setting(
        "TRAWL_WORKER_DENY_NETS", (), words, "Networks (CIDR) this worker never connects to, whatever a job allows."
    )
    own_services: tuple[str, ...] = setting(
        "TRAWL_OWN_SERVICES",
        (),
        words,
        "More `host:port` places never to be fetched from, beside broker and result backend: Flower, metrics.",
    )
    ca_file: str = setting(
        "TRAWL_CA_FILE",
        "",
        text,
        "Certificates to trust, a PEM file. Unset: `SSL_CERT_FILE`, the system's, then the package certifi's.",
    )
    heartbeat_file: str = setting(
        "TRAWL_HEARTBEAT_FILE", "", text, "File the worker touches every few seconds while it lives, for health checks."
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> WorkerSettings:
        """Read a worker's settings.

        Raises:
            SettingError: a value cannot be used.
        """
        return read_settings(cls, environment)

    def certificates(self, environment: Mapping[str, str]) -> str:
        """Return the path of the certificates to trust.

        Raises:
            SettingError: the named file cannot be read.
        """
        named = self.ca_file or environment.get("SSL_CERT_FILE", "").strip()
        if named:
            if not os.access(named, os.R_OK):
                variable = "TRAWL_CA_FILE" if self.ca_file else "SSL_CERT_FILE"
                raise SettingError(f"{variable} names a file that cannot be read: {named}.")
            return named
        for path in _SYSTEM_CERTIFICATES:
            if Path(path).is_file():
                return path
        import certifi

        return certifi.where()
