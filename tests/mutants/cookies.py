"""The guards of cookies: where each is sent, how long it is kept, and how many."""

from __future__ import annotations

from tests.mutants.guard import Guard

_TESTS = ("tests/unit/worker/engine/http/test_cookies.py",)
_WIRE = ("tests/integration/test_credentials_on_the_wire.py", "-k", "cookie")


def _cookies(text: str, instead: str = "") -> Guard:
    return Guard("worker/engine/http/cookies.py", text, _TESTS, instead)


GUARDS = (
    _cookies("url.host == self.domain if self.is_host_only else", ""),
    _cookies('and (url.scheme == "https" or not self.is_secure)', ""),
    _cookies("and _leads_to(self.path, _path(url))", ""),
    _cookies('(url.scheme != "https" and self._hides_secure(cookie))', "False"),
    _cookies("if each.expires > wall and", "if"),
    _cookies("in islice(fields, MOST_COOKIES):", "in fields:"),
    _cookies("while len(self._cookies) > MOST_COOKIES:", "while False:"),
    _cookies("field = longer if len(longer) <= LONGEST_FIELD else field", "field = longer"),
    _cookies("_CONTROL.search(field) or", ""),
    _cookies("or not equals", ""),
    _cookies("or len(name) + len(value) > LONGEST_COOKIE", ""),
    _cookies('or (is_secure and url.scheme != "https")', ""),
    _cookies('if not path.startswith("/"):', "if False:"),
    _cookies("return cookie if _keeps_its_prefix(cookie) else None", "return cookie"),
    _cookies("and cookie.is_host_only", ""),
    _cookies('if pair.partition("=")[0] not in named', ""),
    _cookies("if _SUFFIX.fullmatch(said):", "if False:"),
    _cookies("|(?:ac|co|com|edu|go|gov|mil|ne|net|or|org)\\.[a-z]{2}", ""),
    _cookies("if _is_within(host, said) else None", ""),
    _cookies("and not _ADDRESS.fullmatch(host)", ""),
    _cookies('host.endswith(f".{domain}")', "host.endswith(domain)"),
    _cookies('folder if folder.endswith("/") else f"{folder}/"', "folder"),
    Guard("worker/engine/transfer.py", "            start, self.hops = self.hops.start, None\n",
        ("tests/integration/test_transfers.py", "-k", "forgotten"), "            start = self.hops.start\n"),
    Guard("worker/adapters/http/handle.py", 'field.encode("latin-1")', _WIRE, 'field.encode("utf-8")'),
)  # fmt: skip
