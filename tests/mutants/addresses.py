"""The guards of addresses: each row of the tables, and each line that keeps an address closed."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.mutants.guard import ROOT, Guard

_TESTS = ("tests/unit/worker/engine/test_safety.py",)
_SAFETY = "worker/engine/safety.py"
_ROW = re.compile(r'^    \("([0-9a-f:.]+/[0-9]+)", "[^"]+"\),.*\n', re.MULTILINE)
#: Rows that only give the reason for what the bound of public IPv6 closes anyway.
_EXPLAINING = {"::/128", "64:ff9b:1::/48", "fe80::/10", "fec0::/10", "ff00::/8"}


def _rows() -> Iterator[Guard]:
    for row in _ROW.finditer((ROOT / _SAFETY).read_text("utf-8")):
        if row[1] not in _EXPLAINING:
            yield Guard(_SAFETY, row[0], _TESTS)


def _safety(text: str, instead: str = "") -> Guard:
    return Guard(_SAFETY, text, _TESTS, instead)


def _networks(text: str, instead: str = "") -> Guard:
    return Guard("contract/urls/networks.py", text, _TESTS, instead)


GUARDS = (
    *_rows(),
    _safety("if tier is Tier.NEVER:", "if False:"),
    _safety("if _within(forms, self.worker_deny):", "if False:"),
    _safety("if _within(forms, self.deny):", "if False:"),
    _safety("if _within(forms, self.worker_deny):", "if _within(forms[:1], self.worker_deny):"),
    _safety("if _within(forms, self.deny):", "if _within(forms[:1], self.deny):"),
    _safety("if _within(forms[:1], self.allow):", "if True:"),
    _safety("if _within(forms[:1], self.allow):", "if _within(forms, self.allow):"),
    _safety("(key, port) in self.own or", ""),
    _safety('or ("*", port) in self.own', ""),
    _safety("own = frozenset((_own_key(address), port) for address, port in self.own)", "own = self.own"),
    _safety("if address in _NAT64:", "if False:"),
    _safety("return address.ipv4_mapped", "return None"),
    _safety("if address not in _UNICAST:", "if False:"),
    _safety("if int(address) >> 32 & 0xFDFFFFFF == 0x5EFE:", "if False:"),
    _safety('.partition("%")[0])', ")"),
    _safety("return _LOOPBACK if any(address in loopback for loopback in _LOOPBACKS) else str(address)",
        "return str(address)"),
    _safety('return "*" if judged.forms[0].is_unspecified else judged.key', "return judged.key"),
    _networks('if "%" in text:', "if False:"),
    _networks('if "/" in text and ip_address', "if False and ip_address"),
    _networks("if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):", "if False:"),
    # What an address is spelled like and what is done about it are guarded together.
    Guard("contract/urls/hosts.py", "if _LOOKS_NUMERIC.fullmatch(labels[-1]):", _TESTS, "if False:"),
)  # fmt: skip
