"""Every promise about what a server may do has cases, and they expect what was promised."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

import pytest

from tests.support.misbehaving import CASES, SPLIT_CASES, Case


@dataclass(frozen=True, slots=True)
class Row:
    """A behaviour, the error classes its cases may end with first ("ok": the body is stored), and the cases' names."""

    behaviour: str
    ends: frozenset[str]
    names: tuple[str, ...]  # each has to match a case


def _row(behaviour: str, ends: str, names: str) -> Row:
    return Row(behaviour, frozenset(ends.split()), tuple(names.split()))


ROWS = (
    _row("200 with Content-Length 0", "ok", "good-0"),
    _row("no body to store", "bad-response",
         "status-204 status-205 status-206 status-304 switching elsewhere-300 elsewhere-304"),
    _row("body cut short", "truncated",
         "short-body short-body-reset chunked-cut-* tls-short-body-cut tls-close-framed-1 resume-right"),
    _row("body longer than Content-Length", "ok", "long-body"),
    _row("two different Content-Length", "bad-response", "length-two length-list length-negative length-plus"),
    _row("not HTTP", "bad-response", "not-http-http-0.9 not-http-ssh not-http-redis"),
    _row("bad chunk size, unknown coding", "bad-response", "bad-chunk-* transfer-coding-*"),
    _row("floods", "bad-response", "head-flood-lines head-flood-line trailer-flood interim-0"),
    _row("malformed header lines", "bad-response", "head-nul head-bare-cr head-no-colon"),
    _row("header block cut", "connect truncated", "head-cut-empty head-cut-status head-cut-value head-cut-zero"),
    _row("above the cap", "too-large", "length-over-cap endless-chunked endless-close over-cap"),
    _row("drip", "too-slow", "drip-body drip-head drip-interim"),
    _row("silence", "too-slow timeout", "silent-good tls-handshake-silent-good silence-nothing silence-half-head"
         " silence-head silence-half"),
    _row("above the floor, past the deadline", "timeout", "steady"),
    _row("content encoding", "ok", "encoded-gzip encoded-br encoded-zstd encoded-gzip-cut encoded-gzip-bomb"),
    _row("redirect loop, 11 hops", "too-many-redirects", "loop-1-0 loop-2-0 hops-11"),
    _row("missing Location", "bad-redirect", "redirect-30?-nowhere redirect-empty redirect-two"),
    _row("Location with credentials", "refused-url", "redirect-credentials redirect-user"),
    _row("redirect to another scheme", "refused-url", "redirect-scheme-file redirect-scheme-dict redirect-scheme-ftp"),
    _row("redirect to a denied address", "refused-address", "redirect-address-metadata redirect-address-nat64"
         " redirect-address-loopback-6 redirect-address-azure"),
    _row("redirect to a bad port", "refused-url", "redirect-port-6379"),
    _row("final 4xx", "http-4xx", " ".join(f"status-{code}" for code in (400, 401, 403, 404, 405, 407, 410, 451))),
    _row("transient statuses", "http-4xx http-5xx",
         " ".join(f"status-{code}" for code in (408, 425, 429, 500, 502, 503, 504, *range(520, 525)))),
    _row("Retry-After", "ok http-5xx host-blocked", "retry-after-second-403 retry-after-second-429"
         " retry-after-second-503 retry-after-date retry-after-day retry-after-word"),
    _row("certificates", "tls", "tls-wrong-name-good tls-self-signed-good tls-expired-good"),
    _row("no connection", "connect tls", "refuses-good tls-handshake-cut-good tls-handshake-reset-good"),
    _row("resume that must start over", "truncated", "resume-full resume-earlier resume-later resume-other-version"
         " resume-other-total resume-multipart resume-no-content-range-half resume-changed resume-weak resume-416"),
    _row("416 with what we have", "truncated", "resume-416-whole resume-416-lie"),
    _row("headers that are metadata or nothing", "ok", "ignored-cookie ignored-refresh ignored-alt-svc ignored-hsts"
         " ignored-disposition-up"),
    _row("promised digests", "digest", "digest-wrong-repr-sha-256 digest-wrong-content-md5 digest-wrong-goog-md5"
         " digest-wrong-goog-crc32c digest-wrong-amz-crc32c digest-wrong-amz-sha256"),
    _row("pooled connections that died", "ok", "reuse-closed only-once-close only-once-reset"),
)  # fmt: skip


def _matching(pattern: str) -> list[Case]:
    return [case for case in CASES if fnmatchcase(case.name, pattern)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.behaviour)
def test_a_row_has_its_cases_and_they_expect_it(row: Row) -> None:
    for pattern in row.names:
        cases = _matching(pattern)
        assert cases, f"no case is called {pattern}"
        for case in cases:
            assert (case.once.error or "ok") in row.ends, case


def test_what_is_tried_again_is_asked_for_again_and_nothing_else() -> None:
    """Transient classes spend their attempts; final ones do not."""
    for case in CASES:
        if case.once.requests and case.once.error in ("bad-response", "too-large", "refused-url", "refused-address"):
            assert case.thrice.requests == case.once.requests, case.name
        if case.name.startswith(("status-5", "status-4")) and case.thrice.requests > 1:
            assert int(case.name.split("-")[1]) in {408, 425, 429, 500, 502, 503, 504, *range(520, 525)}, case.name


def test_splits_have_their_cases() -> None:
    names = {case.name.removeprefix("split-") for case in SPLIT_CASES}

    assert {
        "right",
        "full",
        "weak",
        "none",
        "busy",
        "busy-for-a-second",
        "cut",
        "changed-second",
        "changed-deaf",
        "416",
        "gzipped",
    } <= names
