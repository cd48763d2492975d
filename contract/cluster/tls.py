"""TLS options of Redis connections: encryption, and the certificates to trust."""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from contract.errors import SettingError
from contract.named_files import fault_of, reason

_DEPTHS = ("required", "optional", "none")


def tls_options(url: str, ca_file: str = "") -> dict[str, Any]:
    """Return redis-py's ``ssl_*`` options for a service URL; empty unless the URL is ``rediss://``.

    The server's certificate must match its host name and be signed by an authority in ``ca_file`` (PEM), or by one that
    the system trusts. Options in the URL's query (``ssl_cert_reqs``, ``ssl_certfile``, ``ssl_keyfile``,
    ``ssl_ca_certs``) take precedence.

    Raises:
        SettingError: ``ssl_cert_reqs`` has an unknown value.
    """
    if not _is_encrypted(url):
        return {}
    # Explicit, because kombu checks nothing for a rediss:// URL without options (kombu/connection.py, _init_params).
    found: dict[str, Any] = {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
    if ca_file:
        found["ssl_ca_certs"] = ca_file
    found.update(pair for pair in parse_qsl(urlsplit(url).query) if pair[0].startswith("ssl_"))
    depth = found["ssl_cert_reqs"] = found["ssl_cert_reqs"].lower().removeprefix("cert_")
    if depth not in _DEPTHS:
        raise SettingError(f"ssl_cert_reqs in a Redis URL must be one of {', '.join(_DEPTHS)}.")
    found["ssl_check_hostname"] = depth != "none" and str(found["ssl_check_hostname"]).lower() != "false"
    return found


def without_tls_options(url: str) -> str:
    """Return the URL without its ``ssl_*`` options, which Celery, kombu and redis-py read differently."""
    if not _is_encrypted(url):
        return url
    parts = urlsplit(url)
    rest = [pair for pair in parse_qsl(parts.query) if not pair[0].startswith("ssl_")]
    return urlunsplit(parts._replace(query=urlencode(rest)))


def check_authorities(path: str, *, variable: str) -> None:
    """Make sure that a file holds certificates of authorities (PEM).

    Raises:
        SettingError: it cannot be read or holds none; the sentence names the variable.
    """
    if fault := fault_of(path):  # OpenSSL gives no reason, and would read a device for ever
        raise SettingError(f"{variable} cannot be read: {fault}.")
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        raise SettingError(f"{variable} names a file without certificates in PEM form: {path}.") from None
    except OSError as error:
        raise SettingError(f"{variable} cannot be read: {reason(path, error)}.") from None


def certificate_trouble(error: BaseException | None) -> str:
    """Return why a server's certificate was rejected, in a few words; empty if that is not the cause."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {error.verify_message.rstrip('.')}"
        error = error.__cause__ or error.__context__
    return ""


def _is_encrypted(url: str) -> bool:
    return url.split(":", 1)[0] == "rediss"
