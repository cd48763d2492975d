"""Digests a server promises in headers: right, wrong, unknown (RFC 9530; Content-MD5; Google's and Amazon's)."""

from __future__ import annotations

from tests.support.bodies import base64_digest
from tests.support.cases import GOOD, Ending, Endings, expect, ok, recovers, serves, with_query
from tests.support.exchange import Exchange, Header

#: Header, how a digest is written in it, algorithm.
_HEADERS: dict[str, tuple[str, str, str]] = {
    "repr-sha-256": ("Repr-Digest", "sha-256=:{}:", "sha256"),
    "repr-sha-512": ("Repr-Digest", "sha-512=:{}:", "sha512"),
    "content-sha-256": ("Content-Digest", "sha-256=:{}:", "sha256"),
    "content-sha-512": ("Content-Digest", "sha-512=:{}:", "sha512"), "content-md5": ("Content-MD5", "{}", "md5"),
    "goog-md5": ("x-goog-hash", "md5={}", "md5"), "goog-crc32c": ("x-goog-hash", "crc32c={}", "crc32c"),
    "amz-sha256": ("x-amz-checksum-sha256", "{}", "sha256"), "amz-sha1": ("x-amz-checksum-sha1", "{}", "sha1"),
    "amz-crc32": ("x-amz-checksum-crc32", "{}", "crc32"), "amz-crc32c": ("x-amz-checksum-crc32c", "{}", "crc32c"),
}  # fmt: skip

#: Values that cannot be checked are ignored, so the body counts.
_UNCHECKABLE: dict[str, Header] = {
    "unknown-algorithm": ("Repr-Digest", "whirl-9=:AAAA:"),
    "not-base64": ("Repr-Digest", "sha-256=:!!!:"),
    "wrong-length": ("Repr-Digest", "sha-256=:AAAA:"),
    "no-colons": ("Repr-Digest", "sha-256=AAAA"),
    "empty": ("Content-MD5", ""),
    "md5-hex": ("Content-MD5", "d41d8cd98f00b204e9800998ecf8427e"),
    # A checksum of the parts' checksums (S3 multipart upload), not of the body.
    "amz-composite": ("x-amz-checksum-sha256", base64_digest("sha256", b"other") + "-3"),
    # An ETag that looks like an MD5 is opaque all the same.
    "etag-md5": ("ETag", '"d41d8cd98f00b204e9800998ecf8427e"'),
}


def _header(key: str, body: bytes) -> Header:
    name, form, algorithm = _HEADERS[key]
    return name, form.format(base64_digest(algorithm, body))


@serves("/digest")
def _digest(exchange: Exchange) -> None:
    """The good body under digest headers: those `right`, those `wrong` (the first `fails` times or always), `odd`."""
    is_wrong = not exchange.number("fails") or exchange.visit <= exchange.number("fails")
    headers = [_header(key, GOOD) for key in exchange.text("right").split()]
    headers += [_header(key, b"other" if is_wrong else GOOD) for key in exchange.text("wrong").split()]
    headers += [_UNCHECKABLE[key] for key in exchange.text("odd").split()]
    exchange.respond(GOOD, 200, *headers)


#: "Mismatch is transient once, then failed": at most two requests.
_WRONG = Endings(Ending(("digest",), 1), Ending(("digest",), 2))

for _key, (_name, _form, _algorithm) in _HEADERS.items():
    expect(f"/digest?right={_key}", f"sends a right {_name} ({_algorithm})", ok(), name=f"digest-right-{_key}")
    expect(f"/digest?wrong={_key}", f"sends a wrong {_name} ({_algorithm})", _WRONG, name=f"digest-wrong-{_key}")
for _key, (_name, _value) in _UNCHECKABLE.items():
    expect(f"/digest?odd={_key}", f"sends {_name}: {_value[:30]}", ok(), name=f"digest-odd-{_key}")

expect(
    "/digest?wrong=repr-sha-256&fails=1",
    "sends a wrong Repr-Digest, then a right one",
    recovers("digest"),
    name="digest-wrong-once",
)
expect(
    with_query("/digest", right="repr-sha-256 goog-md5", wrong="content-md5"),
    "sends three digests, one of them wrong",
    _WRONG,
    name="digest-one-wrong",
)
expect(
    with_query("/digest", right="goog-crc32c goog-md5"),
    "sends x-goog-hash twice, as Google does",
    ok(),
    name="digest-goog-two",
)


@serves("/digest-list")
def _digest_list(exchange: Exchange) -> None:
    algorithms = {"sha-256": "sha256", "sha-512": "sha512"}
    members = [f"{name}=:{base64_digest(algorithm, GOOD)}:" for name, algorithm in algorithms.items()]
    exchange.respond(GOOD, 200, ("Repr-Digest", ", ".join(["unknown=:AAAA:", *members])))


expect("/digest-list", "sends several algorithms in one Repr-Digest", ok())


@serves("/digest-redirect")
def _digest_redirect(exchange: Exchange) -> None:
    digest = f"sha-256=:{base64_digest('sha256', b'moved')}:"
    exchange.respond(b"moved", 302, ("Location", exchange.onward("/good")), ("Content-Digest", digest))


expect("/digest-redirect", "sends the redirect's own digest with a redirect", ok(requests=2))
