"""Headers that belong to one origin each, kept apart from everything that is shown or logged.

A host alone means https: secrets are sent unencrypted only if the user wrote ``http://`` before the host.
"""

from __future__ import annotations

import base64
import netrc
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from contract.errors import MessageError, SettingError
from contract.named_files import fault_of, reason
from contract.records import wire
from contract.urls.hosts import HostError, canonical_host

_DEFAULT_PORTS = {"http": 80, "https": 443}
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2, token
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e]*")  # RFC 9110 section 5.5, without obs-text
_ORIGIN = re.compile(
    r"(?:(?P<scheme>https?)://)?(?P<host>\[[^\[\]]*\]|[^:/@\[\]]+)(?::(?P<port>[0-9]{1,5}))?/?", re.IGNORECASE
)
_EXAMPLE = "example.com Authorization: Bearer TOKEN"
_LONGEST = 8 * 1024  # bytes of one header; servers commonly refuse more
_MOST = 256 * 1024  # bytes of all headers: they come with every claim, and libcurl sends no request above 1 MB
_LARGEST_FILE = 4 * _MOST  # bytes, comments included
_FRAMING = frozenset(("host", "content-length", "transfer-encoding", "connection", "range", "if-range"))


@dataclass(frozen=True, slots=True)
class Credentials:
    """Request headers by origin.

    ``headers`` maps ``scheme://host:port`` to ``(name, value)`` pairs. The host is spelled as in
    ``contract.urls.lines.Parsed``, an IPv6 address in brackets; the port is always given. A repr never shows the
    value.
    """

    headers: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict, repr=False)

    def for_origin(self, scheme: str, host: str, port: int) -> tuple[tuple[str, str], ...]:
        """Return the headers for one request; none for any other origin."""
        return self.headers.get(f"{scheme}://{_bracketed(host)}:{port}", ())

    def pack(self) -> bytes | None:
        """Return what the ledger stores; None if there is nothing to store."""
        if not self.headers:
            return None
        return wire.pack({origin: [list(pair) for pair in pairs] for origin, pairs in self.headers.items()})

    @classmethod
    def unpack(cls, blob: bytes | None) -> Credentials:
        """Read what ``pack`` wrote.

        Raises:
            MessageError: the record is damaged.
        """
        if blob is None:
            return NO_CREDENTIALS
        try:
            return cls(
                {origin: tuple((name, value) for name, value in pairs) for origin, pairs in wire.unpack(blob).items()}
            )
        except (AttributeError, TypeError, ValueError):
            raise MessageError("A job's credentials are damaged.") from None


NO_CREDENTIALS = Credentials()


def read_credentials(options: Iterable[str], netrc_file: str | Path | None = None) -> Credentials:
    """Read ``--header`` options (``ORIGIN NAME: VALUE``, or ``@FILE``) and a netrc file (logins become Basic).

    An origin is ``HOST[:PORT]``, which means https, or a URL with either scheme; the same holds for a netrc's machines.
    A file of headers has one per line; blank lines and lines that begin with ``#`` are skipped. It keeps secrets out of
    the command line, which every user of the machine can see.

    Raises:
        SettingError: a header does not have that form, they are too large, or a file is empty, not private
            (mode 600) or not readable.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    if netrc_file:
        for origin, pair in _from_netrc(Path(netrc_file)):
            found.setdefault(origin, []).append(pair)
    for option in options:
        for header, place in _from_file(option[1:]) if option.startswith("@") else [(option, "--header")]:
            origin, pair = _from_option(header, place)
            found.setdefault(origin, []).append(pair)
    if sum(len(name) + len(value) for pairs in found.values() for name, value in pairs) > _MOST:
        raise SettingError(f"The headers of --header and --netrc are larger than {_MOST // 1024} KB in all.")
    return Credentials({origin: tuple(pairs) for origin, pairs in found.items()})


def _from_option(option: str, place: str) -> tuple[str, tuple[str, str]]:
    """Read one header; errors name its ``place`` and never repeat it, because it may hold a secret."""
    origin_text, _, header = option.strip(" \t\r\n").partition(" ")
    name, colon, value = header.partition(":")
    name, value = name.strip(" \t"), value.strip(" \t")  # nothing else: str.strip() removes control characters too
    origin = _origin(origin_text)
    if not origin or not colon or not _FIELD_NAME.fullmatch(name):
        raise SettingError(f"{place} must look like '{_EXAMPLE}'.")
    if not _FIELD_VALUE.fullmatch(value):
        raise SettingError(f"{place} has a value that cannot be sent: it must be ASCII without control characters.")
    if len(name) + len(value) > _LONGEST:
        raise SettingError(f"{place} is larger than {_LONGEST // 1024} KB.")
    if name.lower() in _FRAMING:
        raise SettingError(f"{place} cannot set {name}: the transfer needs it.")
    return origin, (name, value)


def _from_file(path: str) -> Iterator[tuple[str, str]]:
    """Read the headers of a file, each with its place for errors."""
    _check_private(path, "--header")
    try:
        with Path(path).open("rb") as file:
            read = file.read(_LARGEST_FILE + 1)
        if len(read) > _LARGEST_FILE:
            raise SettingError(f"{path} is not a file of headers: it is larger than {_LARGEST_FILE // 1024**2} MB.")
        text = read.decode("utf-8-sig")
    except OSError as error:
        raise SettingError(f"--header cannot be read: {reason(path, error)}.") from None
    except UnicodeDecodeError:
        raise SettingError(f"{path} is not a file of headers: it is not text.") from None
    lines = enumerate(text.split("\n"), start=1)  # str.splitlines() would end lines at control characters too
    headers = [(line, number) for number, line in lines if line.strip(" \t\r") and not line.startswith("#")]
    if not headers:
        raise SettingError(f"{path} has no headers: write them one per line, like '{_EXAMPLE}'.")
    for line, number in headers:
        yield line, f"{path} line {number}"


def _check_private(path: str, option: str) -> None:
    """Refuse a file that cannot be read, or that other users could read.

    Raises:
        SettingError: it is one of these; the sentence names the option.
    """
    if fault := fault_of(path, may_be_pipe=True):
        raise SettingError(f"{option} cannot be read: {fault}.")
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise SettingError(f"{option} cannot be read: {reason(path, error)}.") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SettingError(f"{path} can be read by others: run chmod 600 {path}.")


def _origin(text: str) -> str | None:
    """Return an origin as given as a key of ``headers``, None if it is invalid: all spellings give the same key."""
    is_address = text.count(":") > 1 and "[" not in text and "//" not in text
    match = _ORIGIN.fullmatch(f"[{text}]" if is_address else text)
    if match is None:
        return None
    scheme = (match["scheme"] or "https").lower()
    try:
        host = _bracketed(canonical_host(match["host"]).name)
    except HostError:
        return None
    return f"{scheme}://{host}:{int(match['port'] or _DEFAULT_PORTS[scheme])}"


def _bracketed(host: str) -> str:
    # "::1:8080" is an address by itself; "[::1]:8080" is an address and a port.
    return f"[{host}]" if ":" in host else host


def _from_netrc(path: Path) -> Iterable[tuple[str, tuple[str, str]]]:
    _check_private(str(path), "--netrc")
    try:
        hosts = netrc.netrc(str(path)).hosts
    except OSError as error:
        raise SettingError(f"--netrc cannot be read: {reason(str(path), error)}.") from None
    except UnicodeDecodeError:
        raise SettingError(f"{path} is not a netrc file: it is not text.") from None
    except netrc.NetrcParseError as error:
        raise SettingError(f"{path} is not a netrc file: line {error.lineno}.") from None
    for machine, (login, _, password) in hosts.items():
        origin = _origin(machine)
        if origin and machine != "default":  # a default would send the password to every host in the list
            basic = base64.b64encode(f"{login}:{password}".encode()).decode("ascii")
            yield origin, ("Authorization", f"Basic {basic}")
