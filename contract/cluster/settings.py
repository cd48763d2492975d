"""Settings: how they are declared and read, and those that both sides share."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from contract.cluster.service_urls import HOW_TO_WRITE, check_url, is_redis_url, with_password
from contract.cluster.tls import check_authorities
from contract.errors import SettingError
from contract.named_files import fault_of, reason

S = TypeVar("S")

_LONGEST_FIRST_LINE = 64 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class SettingDoc:
    """One environment variable, as documented in docs/configuration.md."""

    variable: str
    default: str
    meaning: str


def setting(variable: str, default: Any, parse: Callable[[str], Any], meaning: str) -> Any:
    """Declare a dataclass field that is read from an environment variable.

    ``parse`` converts the text and raises ValueError with the end of a sentence ("must be ...").
    """
    return field(default=default, metadata={"variable": variable, "parse": parse, "meaning": meaning})


def read_settings(cls: type[S], environment: Mapping[str, str]) -> S:
    """Read a settings dataclass from the environment; empty variables count as unset.

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
                shown = "" if each.metadata.get("is_secret") else f" (it is {text[:40]!r})"
                raise SettingError(f"{each.metadata['variable']} {error}{shown}.") from None
    return cls(**values)


def describe(cls: type[Any]) -> list[SettingDoc]:
    """Return the variables of a settings dataclass, for the documentation and its test."""
    return [
        SettingDoc(each.metadata["variable"], str(_default(each)), each.metadata["meaning"])
        for each in dataclasses.fields(cls)
        if "variable" in each.metadata
    ]


def _default(each: dataclasses.Field[Any]) -> Any:
    return each.default if each.default_factory is dataclasses.MISSING else each.default_factory()


def whole(least: int = 0) -> Callable[[str], int]:
    """Return a parser of whole numbers from ``least`` on."""

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
    """Return a parser of finite seconds from ``least`` on."""

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
    """Parse a size into bytes: ``1000``, ``64K``, ``10M``, ``2G``, ``1T`` (powers of 1024)."""
    lowered = text.strip().lower().removesuffix("b").removesuffix("i")
    number, unit = (lowered[:-1], lowered[-1:]) if lowered[-1:].isalpha() else (lowered, "")
    try:
        value = int(float(number) * _UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        raise ValueError("must be a size such as 500M or 10G") from None
    if value < 0:
        raise ValueError("must not be negative")
    return value


def words(text: str) -> tuple[str, ...]:
    """Parse a list separated by commas or blanks."""
    return tuple(text.replace(",", " ").split())


def text(value: str) -> str:
    return value


def choice(*known: str) -> Callable[[str], str]:
    """Return a parser that accepts only these words."""

    def parse(text: str) -> str:
        if text not in known:
            raise ValueError(f"must be {' or '.join(known)}")
        return text

    return parse


def options(value: str) -> dict[str, Any]:
    """Parse transport options: a JSON object."""
    try:
        record = json.loads(value)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise ValueError("must be a JSON object")
    return record


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """The settings that producer and worker must share to work together."""

    broker_url: str = setting(
        "TRAWL_BROKER_URL", "", text, "Broker; any Celery broker URL. If unset: `CELERY_BROKER_URL`, then `REDIS_URL`."
    )
    result_backend: str = setting(
        "TRAWL_RESULT_BACKEND",
        "",
        text,
        "Redis that holds results and the ledger. If unset: `CELERY_RESULT_BACKEND`, then a Redis broker's URL.",
    )
    password_file: str = setting(
        "TRAWL_REDIS_PASSWORD_FILE",
        "",
        text,
        "File whose first line is the password for both Redis URLs above, to keep it out of them.",
    )
    ca_file: str = setting(
        "TRAWL_REDIS_CA_FILE",
        "",
        text,
        "File with the certificate authorities (PEM) a `rediss://` server is checked against; "
        "if unset, those the system trusts.",
    )
    broker_options: dict[str, Any] = field(
        default_factory=dict,
        metadata={
            "variable": "TRAWL_BROKER_OPTIONS",
            "parse": options,
            "is_secret": True,  # it may hold passwords, of Sentinels for one
            "meaning": "Extra kombu transport options as a JSON object (Sentinel, SQS).",
        },
    )
    backend_options: dict[str, Any] = field(
        default_factory=dict,
        metadata={
            "variable": "TRAWL_BACKEND_OPTIONS",
            "parse": options,
            "is_secret": True,  # it may hold passwords, of Sentinels for one
            "meaning": "Extra result backend transport options as a JSON object (`retry_policy`).",
        },
    )
    queue: str = setting(
        "TRAWL_QUEUE", "trawl", text, "Celery queue of the batches; workers and producers of one cluster use the same."
    )
    queue_type: str = setting(
        "TRAWL_QUEUE_TYPE",
        "classic",
        choice("classic", "quorum"),
        "RabbitMQ only: `classic`, or `quorum` for a queue that survives the loss of a node.",
    )
    prefix: str = setting("TRAWL_PREFIX", "trawl:", text, "Prefix of all keys; the ledger's begin with it and `2:`.")
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
        "Seconds after its last change until a job is deleted from Redis, with its uncollected reports.",
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> ClusterSettings:
        """Read the shared settings; Celery's own variables and ``REDIS_URL`` are understood too.

        Raises:
            SettingError: a value cannot be used, or no broker is named.
        """
        plain = read_settings(cls, environment)
        asked, broker = _named(environment, "TRAWL_BROKER_URL", "CELERY_BROKER_URL", "REDIS_URL")
        if not broker:
            raise SettingError("No broker is configured: set TRAWL_BROKER_URL, e.g. redis://localhost:6379/0.")
        _check_broker(broker, environment, variable=asked)
        other, backend = _named(environment, "TRAWL_RESULT_BACKEND", "CELERY_RESULT_BACKEND")
        backend = backend or (broker if is_redis_url(broker) else "")
        _check_backend(backend, plain.backend_options, variable=other or asked)
        password = first_line(plain.password_file, variable="TRAWL_REDIS_PASSWORD_FILE") if plain.password_file else ""
        if plain.ca_file:
            check_authorities(plain.ca_file, variable="TRAWL_REDIS_CA_FILE")
        return dataclasses.replace(
            plain, broker_url=with_password(broker, password), result_backend=with_password(backend, password)
        )


def first_line(path: str, *, variable: str) -> str:
    """Return the first line of a file that a variable names, stripped.

    Raises:
        SettingError: it cannot be read; the sentence names the variable.
    """
    fault = fault_of(path, may_be_pipe=True)
    if not fault:
        try:
            with open(path, "rb") as file:
                line = file.readline(_LONGEST_FIRST_LINE).decode("utf-8").strip()
            if "\0" not in line:
                return line
            fault = f"{path} is not text"
        except UnicodeDecodeError:
            fault = f"{path} is not text"
        except OSError as error:
            fault = reason(path, error)
    raise SettingError(f"{variable} cannot be read: {fault}.")


def is_configured(environment: Mapping[str, str]) -> bool:
    """Does the environment name a broker?"""
    return any(environment.get(name, "").strip() for name in ("TRAWL_BROKER_URL", "CELERY_BROKER_URL", "REDIS_URL"))


def _named(environment: Mapping[str, str], ours: str, celerys: str, last: str = "") -> tuple[str, str]:
    """Return the variable that names a service, and its URL; both are empty if none does."""
    found = [(name, place) for name in (ours, celerys, last) if (place := environment.get(name, "").strip())]
    if len({place for name, place in found if name != last}) > 1:
        # Celery's own variable overrides every configuration, so two values would split the cluster.
        raise SettingError(f"{ours} and {celerys} differ: unset one of them.")
    return found[0] if found else ("", "")


def _check_broker(url: str, environment: Mapping[str, str], *, variable: str) -> None:
    from kombu.transport import TRANSPORT_ALIASES  # here, because `trawl --help` reads this module and no kombu

    for each in url.split(";"):  # kombu tries the next if one does not answer
        scheme, colon, _ = each.partition("://")
        if not colon or scheme.partition("+")[0] not in TRANSPORT_ALIASES:
            raise SettingError(f"{variable} names no broker Celery speaks to: {HOW_TO_WRITE}")
        check_url(each, variable=variable)
    for name in ("CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL"):
        if environment.get(name, "").strip():  # celery 5.7 app/utils.py: it overrides every configuration
            raise SettingError(f"{name} makes Celery ignore {variable}: unset it.")


def _check_backend(url: str, options: Mapping[str, Any], *, variable: str) -> None:
    """Refuse URLs and options with which the ledger, in the backend's Redis, could not connect or find its reports."""
    if url.startswith("sentinel:"):
        raise SettingError(
            "The result backend cannot be found through Sentinels: set TRAWL_RESULT_BACKEND to the primary's address,"
            " e.g. redis://primary:6379/0."
        )
    if not is_redis_url(url) or "://" not in url:
        raise SettingError(
            "The result backend must be a Redis URL: set TRAWL_RESULT_BACKEND, e.g. redis://localhost:6379/0."
        )
    if ";" in url:
        raise SettingError(
            f"{variable} holds a semicolon, but the result backend is a single Redis: set TRAWL_RESULT_BACKEND to its"
            " URL, and write a semicolon of a password as %3B."
        )
    check_url(url, variable=variable)
    if "global_keyprefix" in options:
        raise SettingError(
            "TRAWL_BACKEND_OPTIONS must not hold global_keyprefix: reports are stored under Celery's own keys;"
            " give Trawlnet a database of its own instead, e.g. redis://localhost:6379/1."
        )
