"""Settings: where each value comes from, what it means, and the ones both sides share."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from contract.cluster.tls import check_authorities
from contract.errors import SettingError

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class SettingDoc:
    """One environment variable as docs/configuration.md must show it."""

    variable: str
    default: str
    meaning: str


def setting(variable: str, default: Any, parse: Callable[[str], Any], meaning: str) -> Any:
    """Declare a dataclass field that is read from an environment variable.

    ``parse`` turns the text into the value and raises ValueError with a short sentence.
    """
    return field(default=default, metadata={"variable": variable, "parse": parse, "meaning": meaning})


def read_settings(cls: type[S], environment: Mapping[str, str]) -> S:
    """Build a settings dataclass from the environment; empty variables count as unset.

    Raises:
        SettingError: a value cannot be used; the sentence names the variable.
    """
    values: dict[str, Any] = {}
    for each in dataclasses.fields(cls):  # type: ignore[arg-type]  # any settings dataclass; the type cannot be bound to a Protocol
        text = environment.get(each.metadata.get("variable", ""), "").strip()
        if text:
            try:
                values[each.name] = each.metadata["parse"](text)
            except ValueError as error:
                raise SettingError(f"{each.metadata['variable']} {error} (it is {text[:40]!r}).") from None
    return cls(**values)


def describe(cls: type[Any]) -> list[SettingDoc]:
    """List the variables of a settings dataclass for the documentation and its test."""
    return [
        SettingDoc(each.metadata["variable"], str(_default(each)), each.metadata["meaning"])
        for each in dataclasses.fields(cls)
        if "variable" in each.metadata
    ]


def _default(each: dataclasses.Field[Any]) -> Any:
    return each.default if each.default_factory is dataclasses.MISSING else each.default_factory()


def whole(least: int = 0) -> Callable[[str], int]:
    """Return a parser of whole numbers not below ``least``."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError("must be a whole number") from None
        if value < least:
            raise ValueError(f"must be at least {least}")
        return value

    return parse


def seconds(least: float = 0.0) -> Callable[[str], float]:
    """Return a parser of seconds not below ``least``."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError("must be a number of seconds") from None
        if not least <= value < float("inf"):
            raise ValueError(f"must be at least {least:g} seconds")
        return value

    return parse


_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


def size(text: str) -> int:
    """Read a size in bytes: ``1000``, ``64K``, ``10M``, ``2G``, ``1T`` (powers of 1024)."""
    lowered = text.strip().lower().removesuffix("b").removesuffix("i")
    number, unit = (lowered[:-1], lowered[-1:]) if lowered[-1:].isalpha() else (lowered, "")
    try:
        value = int(float(number) * _UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        raise ValueError("must be a size such as 500M or 10G") from None
    if value < 0:
        raise ValueError("must not be negative")
    return value


def yes_no(text: str) -> bool:
    if text.lower() in ("1", "yes", "true", "on"):
        return True
    if text.lower() in ("0", "no", "false", "off"):
        return False
    raise ValueError("must be yes or no")


def words(text: str) -> tuple[str, ...]:
    """Read a list separated by commas or blanks."""
    return tuple(text.replace(",", " ").split())


def text(value: str) -> str:
    return value


def options(value: str) -> dict[str, Any]:
    """Read transport options: a JSON object."""
    try:
        record = json.loads(value)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise ValueError("must be a JSON object")
    return record


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """What producer and worker must agree on to meet."""

    broker_url: str = setting(
        "TRAWL_BROKER_URL",
        "",
        text,
        "Broker; any Celery broker URL. `CELERY_BROKER_URL` and, after it, `REDIS_URL` are read where it is unset.",
    )
    result_backend: str = setting(
        "TRAWL_RESULT_BACKEND",
        "",
        text,
        "Redis that holds results and the ledger. Where unset: `CELERY_RESULT_BACKEND`, then a Redis broker's URL.",
    )
    password_file: str = setting(
        "TRAWL_REDIS_PASSWORD_FILE",
        "",
        text,
        "File whose first line is the password for both Redis URLs above, so that it need not stand in them.",
    )
    ca_file: str = setting(
        "TRAWL_REDIS_CA_FILE",
        "",
        text,
        "File with the certificate authorities (PEM) a `rediss://` server is checked against; "
        "where unset, those the system trusts.",
    )
    broker_options: dict[str, Any] = field(
        default_factory=dict,
        metadata={
            "variable": "TRAWL_BROKER_OPTIONS",
            "parse": options,
            "meaning": "Extra kombu transport options as a JSON object (Sentinel, quorum queues, SQS).",
        },
    )
    backend_options: dict[str, Any] = field(
        default_factory=dict,
        metadata={
            "variable": "TRAWL_BACKEND_OPTIONS",
            "parse": options,
            "meaning": "Extra result backend transport options as a JSON object (`retry_policy`).",
        },
    )
    queue: str = setting(
        "TRAWL_QUEUE", "trawl", text, "Celery queue of the batches; workers and producers of one cluster use the same."
    )
    prefix: str = setting("TRAWL_PREFIX", "trawl:", text, "Prefix of the ledger's keys.")
    lease: float = setting(
        "TRAWL_LEASE",
        20.0,
        seconds(1.0),
        "Seconds a worker may hold a batch without renewing; a killed worker's batches run again after it.",
    )
    keep: float = setting(
        "TRAWL_KEEP",
        7 * 86400.0,
        seconds(60.0),
        "Seconds after its last change until a job is forgotten in Redis, reports nobody followed included.",
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> ClusterSettings:
        """Read the shared settings, following Celery's and the field's own variable names.

        Raises:
            SettingError: a value cannot be used, or no broker is named.
        """
        from kombu.transport import TRANSPORT_ALIASES  # here, because `trawl --help` reads this module and no kombu

        plain = read_settings(cls, environment)
        broker = (
            _one_of(environment, "TRAWL_BROKER_URL", "CELERY_BROKER_URL") or environment.get("REDIS_URL", "").strip()
        )
        if not broker:
            raise SettingError("No broker is configured: set TRAWL_BROKER_URL, e.g. redis://localhost:6379/0.")
        if broker.partition(":")[0].partition("+")[0] not in TRANSPORT_ALIASES:
            raise SettingError(
                "The broker's URL names no broker Celery speaks to: write e.g. redis://localhost:6379/0."
            )
        backend = _one_of(environment, "TRAWL_RESULT_BACKEND", "CELERY_RESULT_BACKEND") or _backend_of(broker)
        _check_backend(backend, plain.backend_options)
        for url in (broker, backend):
            _check_query(url)
        password = _first_line(plain.password_file) if plain.password_file else ""
        if plain.ca_file:
            check_authorities(plain.ca_file, variable="TRAWL_REDIS_CA_FILE")
        return dataclasses.replace(
            plain, broker_url=_with_password(broker, password), result_backend=_with_password(backend, password)
        )


def is_configured(environment: Mapping[str, str]) -> bool:
    """Does the environment name a broker of its own?"""
    return any(environment.get(name, "").strip() for name in ("TRAWL_BROKER_URL", "CELERY_BROKER_URL", "REDIS_URL"))


def is_redis_url(url: str) -> bool:
    return url.split(":", 1)[0] in ("redis", "rediss", "redis+socket", "sentinel")


def redacted(url: str) -> str:
    """Return a service URL without its credentials, for messages."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url.split("?", 1)[0] if parts.scheme != "redis+socket" else url
    return urlunsplit((parts.scheme, "***@" + parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _one_of(environment: Mapping[str, str], ours: str, celerys: str) -> str:
    mine, theirs = environment.get(ours, "").strip(), environment.get(celerys, "").strip()
    if mine and theirs and mine != theirs:
        # Celery lets its own variable beat every configuration, so two answers would split the cluster.
        raise SettingError(f"{ours} and {celerys} name different places: unset one of them.")
    return mine or theirs


def _backend_of(broker: str) -> str:
    return broker if is_redis_url(broker) else ""


def _check_backend(url: str, options: Mapping[str, Any]) -> None:
    """Refuse what the ledger, which shares the backend's Redis, cannot speak to or would not find its reports in."""
    if url.startswith("sentinel:"):
        raise SettingError(
            "The result backend cannot be found through Sentinels: set TRAWL_RESULT_BACKEND to the primary's address,"
            " e.g. redis://primary:6379/0."
        )
    if not is_redis_url(url):
        raise SettingError(
            "The result backend must be a Redis URL: set TRAWL_RESULT_BACKEND, e.g. redis://localhost:6379/0."
        )
    if "global_keyprefix" in options:
        raise SettingError(
            "TRAWL_BACKEND_OPTIONS must not hold global_keyprefix: reports stand under Celery's own keys;"
            " give Trawlnet a database of its own instead, e.g. redis://localhost:6379/1."
        )


def _check_query(url: str) -> None:
    """Refuse what Celery, kombu and redis-py would each take for something else, or not at all."""
    parts = urlsplit(url)
    allowed = {"rediss": "ssl_", "redis+socket": "virtual_host"}.get(parts.scheme, "?")
    if parts.scheme in ("redis", "rediss", "redis+socket"):
        for name, _ in parse_qsl(parts.query, keep_blank_values=True):
            if not name.startswith(allowed):
                raise SettingError(
                    f"A {parts.scheme}:// URL cannot hold the option {name[:40]}: transport options go into"
                    " TRAWL_BROKER_OPTIONS and TRAWL_BACKEND_OPTIONS."
                )


def _first_line(path: str) -> str:
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"TRAWL_REDIS_PASSWORD_FILE cannot be read: {type(error).__name__} at {path}.") from None
    return lines[0].strip() if lines else ""


def _with_password(url: str, password: str) -> str:
    parts = urlsplit(url)
    if not password or parts.scheme not in ("redis", "rediss"):
        return url
    user, _, place = parts.netloc.rpartition("@")
    if ":" in user:
        return url
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{place}"))
