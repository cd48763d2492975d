"""The settings of a worker: where bodies go, how much it does at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from contract.cluster.listening import listening_place
from contract.cluster.settings import first_line, read_settings, seconds, setting, size, text, whole, words
from contract.cluster.tls import check_authorities
from contract.errors import SettingError
from contract.urls.hosts import HostError, canonical_host

_SYSTEM_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # macOS, BSD
)


_PROXY = re.compile(
    r"(?P<scheme>https?|socks5)://(?P<host>\[[0-9a-f:.]+\]|[^\s:/?#\[\]]+):(?P<port>[0-9]{1,5})/?", re.IGNORECASE
)
_LOGIN = re.compile(r"[^:\x00-\x1f\x7f]{1,255}:[^\x00-\x1f\x7f]{1,255}")  # RFC 1929's lengths


@dataclass(frozen=True, slots=True)
class EgressProxy:
    """The proxy's address, and our login there: ``user:password`` or empty, never shown."""

    scheme: str
    host: str  # canonical, without brackets
    port: int
    login: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """The environment of a worker, read once, by ``worker.wiring``."""

    output: str = setting("TRAWL_OUTPUT", "./out", text, "Folder to store bodies in; `trawl run` sets it to its `-o`.")
    lanes: int = setting(
        "TRAWL_LANES", 1, whole(1), "Lanes per process: threads that each drive many transfers. One keeps a core busy."
    )
    transfers: int = setting(
        "TRAWL_TRANSFERS",
        128,
        whole(1),
        "Transfers in flight per process, shared by its lanes; in addition, up to four times as many quiet ones.",
    )
    drain: float = setting(
        "TRAWL_DRAIN", 10.0, seconds(), "Seconds a stopping worker lets transfers finish before it hands them off."
    )
    min_free: int = setting(
        "TRAWL_MIN_FREE", 64 * 1024**2, size, "Free space to keep on the output's disk; bodies that would use it wait."
    )
    deny_nets: tuple[str, ...] = setting(
        "TRAWL_WORKER_DENY_NETS", (), words, "Networks (CIDR) this worker never connects to, whatever a job allows."
    )
    own_services: tuple[str, ...] = setting(
        "TRAWL_OWN_SERVICES",
        (),
        words,
        "More `host:port` addresses never to fetch from, besides broker and result backend: Flower, metrics.",
    )
    egress_proxy: str = setting(
        "TRAWL_EGRESS_PROXY",
        "",
        text,
        "Proxy for all connections to servers: `http://host:port`, `https://` or `socks5://`.",
    )
    egress_login_file: str = setting(
        "TRAWL_EGRESS_LOGIN_FILE", "", text, "File whose first line is that proxy's login, `user:password`."
    )
    ca_file: str = setting(
        "TRAWL_CA_FILE",
        "",
        text,
        "Certificates to trust, a PEM file. If unset: `SSL_CERT_FILE`, the system's, then those of certifi.",
    )
    metrics: str = setting(
        "TRAWL_METRICS",
        "",
        text,
        "Where the worker serves metrics to Prometheus: a port on 127.0.0.1, or `address:port`. If unset: nowhere.",
    )
    heartbeat_file: str = setting(
        "TRAWL_HEARTBEAT_FILE",
        "",
        text,
        "File the worker touches every few seconds, for health checks; while it takes no work, it is dated 1970 and "
        "says why.",
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> WorkerSettings:
        """Read a worker's settings.

        Raises:
            SettingError: a value cannot be used.
        """
        return read_settings(cls, environment)

    def metrics_place(self) -> tuple[str, int] | None:
        """Return the address and port to serve metrics on; None: metrics are off.

        Raises:
            SettingError: the setting is invalid. To listen on all addresses, it must name 0.0.0.0.
        """
        if not self.metrics:
            return None
        return listening_place(self.metrics, setting="TRAWL_METRICS")

    def proxy(self) -> EgressProxy | None:
        """Return the egress proxy; None: connections are direct.

        Raises:
            SettingError: it is malformed, or its login cannot be read. The message never repeats a login.
        """
        if not self.egress_proxy:
            if self.egress_login_file:
                raise SettingError("TRAWL_EGRESS_LOGIN_FILE is set, and TRAWL_EGRESS_PROXY is not: set both or none.")
            return None
        if "@" in self.egress_proxy:
            raise SettingError("TRAWL_EGRESS_PROXY holds a login: put it into the file TRAWL_EGRESS_LOGIN_FILE names.")
        match = _PROXY.fullmatch(self.egress_proxy)
        if match is None or not 0 < int(match["port"]) < 65536:
            raise SettingError(
                "TRAWL_EGRESS_PROXY must be http://host:port, https://host:port or socks5://host:port, with the port."
            )
        try:
            host = canonical_host(match["host"]).name
        except HostError as error:
            raise SettingError(f"TRAWL_EGRESS_PROXY: {error}") from None
        return EgressProxy(match["scheme"].lower(), host, int(match["port"]), self._egress_login())

    def _egress_login(self) -> str:
        if not self.egress_login_file:
            return ""
        login = first_line(self.egress_login_file, variable="TRAWL_EGRESS_LOGIN_FILE")
        if not _LOGIN.fullmatch(login):
            raise SettingError("TRAWL_EGRESS_LOGIN_FILE must hold user:password in its first line.")
        return login

    @property
    def room(self) -> int:
        """With fewer URLs left to fetch than this, a process claims another batch.

        Half as many as in flight are added, because URLs run out while the next batch is being claimed.
        """
        return self.transfers + self.transfers // 2

    def certificates(self, environment: Mapping[str, str]) -> str:
        """Return the path of the certificates to trust.

        Raises:
            SettingError: the named file cannot be read, or holds no certificates.
        """
        named = self.ca_file or environment.get("SSL_CERT_FILE", "").strip()
        if named:
            check_authorities(named, variable="TRAWL_CA_FILE" if self.ca_file else "SSL_CERT_FILE")
            return named
        for path in _SYSTEM_CERTIFICATES:
            if Path(path).is_file():
                return path
        import certifi

        return certifi.where()
