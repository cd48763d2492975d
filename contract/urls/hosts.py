"""The canonical spelling of every host a URL may name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import unquote_to_bytes

import idna

_LONGEST_SPELLING = 1000  # characters; a name has at most 253, but UTS-46 may drop some
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
_NUMBER = re.compile(r"0x(?P<hex>[0-9a-f]*)|(?P<octal>0[0-7]*)|(?P<decimal>[1-9][0-9]*)")
_LOOKS_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")
_IN_BRACKETS = re.compile(r"\[([0-9A-Fa-f:.]+)\]")


class HostError(ValueError):
    """The host cannot be fetched from; ``str()`` is one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Host:
    """A host in its canonical spelling.

    ``name`` is lower-case ASCII without a trailing dot and without brackets: ``example.org`` and ``EXAMPLE.org.``
    are one host. ``wire`` is its spelling in the URL that is sent: it keeps the trailing dot (which stops the resolver
    from appending a search domain) and the brackets of an IPv6 address.
    """

    name: str
    wire: str


def canonical_host(spelling: str) -> Host:
    """Return the host a browser would go to (URL Standard, "host parsing").

    Numeric spellings such as ``0x7f.1`` become the address they stand for, because libcurl, resolvers and people read
    them differently. Whether an address may be connected to is decided elsewhere, on the socket address.

    Raises:
        HostError: there is no host, or it cannot exist.
    """
    if not spelling:
        raise HostError("The URL names no host; write http://host/ or https://host/.")
    if len(spelling) > _LONGEST_SPELLING:
        raise HostError("The host's name is longer than the 253 characters a name may have.")
    if spelling.startswith("["):
        return _ipv6(spelling)
    decoded = _decode_escapes(spelling) if "%" in spelling else spelling
    ascii_name = decoded.lower() if decoded.isascii() else _from_unicode(decoded)
    name = ascii_name.removesuffix(".")
    labels = name.split(".")
    _check_labels(name, labels)
    if _LOOKS_NUMERIC.fullmatch(labels[-1]):
        address = str(_ipv4(labels))
        return Host(address, address)
    return Host(name, ascii_name)


def _decode_escapes(spelling: str) -> str:
    try:
        return unquote_to_bytes(spelling).decode()
    except UnicodeDecodeError:
        raise HostError("The host's percent escapes are not UTF-8; write the host as it is.") from None


def _from_unicode(name: str) -> str:
    """Map and encode a name by UTS-46, non-transitional (https://www.unicode.org/reports/tr46/)."""
    try:
        mapped = idna.uts46_remap(name, std3_rules=False)
        return ".".join(label if label.isascii() else _a_label(label) for label in mapped.split("."))
    except UnicodeError:
        raise HostError("The host is not a valid international name (UTS-46); check its spelling.") from None


def _a_label(label: str) -> str:
    try:
        return idna.alabel(label).decode()
    except idna.InvalidCodepoint:
        # Valid under UTS-46 but not under the stricter IDNA 2008: emoji domains exist, and browsers open them.
        return "xn--" + label.encode("punycode").decode()


def _check_labels(name: str, labels: list[str]) -> None:
    if len(name) > 253:
        raise HostError("The host's name is longer than the 253 characters a name may have.")
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise HostError("The host is not a name or address; check it for stray characters and empty parts.")
        if label.startswith("xn--") and not _is_encoded_label(label[4:]):
            raise HostError("The host has a part starting with xn-- that encodes no international name.")


def _is_encoded_label(encoded: str) -> bool:
    try:
        label = encoded.encode().decode("punycode")
        return not label.isascii() and idna.uts46_remap(label, std3_rules=False) == label
    except UnicodeError:
        return False


def _ipv4(parts: list[str]) -> IPv4Address:
    """Read one to four numbers, each decimal, octal or hexadecimal; the last fills the other bytes (URL Standard)."""
    numbers = [_number(part) for part in parts]
    leading, last = numbers[:-1], numbers[-1]
    if len(numbers) > 4 or any(number > 255 for number in leading) or last >= 256 ** (5 - len(numbers)):
        raise HostError("The host ends in a number but is not an IPv4 address; check its spelling.")
    return IPv4Address(last + sum(number << 8 * (3 - place) for place, number in enumerate(leading)))


def _number(part: str) -> int:
    match = _NUMBER.fullmatch(part)
    if not match:
        raise HostError("The host ends in a number but is not an IPv4 address; check its spelling.")
    if match["hex"] is not None:
        return int(match["hex"] or "0", 16)
    return int(part, 8 if match["octal"] else 10)


def _ipv6(spelling: str) -> Host:
    match = _IN_BRACKETS.fullmatch(spelling)
    try:
        address = IPv6Address(match[1] if match else "")
    except ValueError:
        raise HostError("The brackets do not hold an IPv6 address; write [2001:db8::1], without a zone.") from None
    mapped = address.ipv4_mapped
    # Python 3.13 writes mapped addresses with dots, 3.11 without; the URL must not depend on that.
    name = f"::ffff:{int(mapped) >> 16:x}:{int(mapped) & 0xFFFF:x}" if mapped is not None else str(address)
    return Host(name, f"[{name}]")
