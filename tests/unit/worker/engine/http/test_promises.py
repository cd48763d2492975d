"""What servers promise about their bodies is read; what cannot be checked is ignored."""

from __future__ import annotations

import base64
import hashlib
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.engine.digests import _checksum, starter
from worker.engine.http.headers import Head
from worker.engine.http.promises import Promise, promises

_BODY = b"a body"


def _b64(algorithm: str) -> str:
    return base64.b64encode(hashlib.new(algorithm, _BODY).digest()).decode()


def _promised(fields: dict[str, str], *, is_part: bool = False) -> set[tuple[str, str]]:
    found = promises(Head.of(200, "1.1", fields), is_part=is_part)
    return {(promise.algorithm, promise.digest) for promise in found}


@pytest.mark.parametrize(
    ("name", "value", "algorithm"),
    [
        ("repr-digest", f"sha-256=:{_b64('sha256')}:", "sha256"),
        ("content-digest", f"sha-512=:{_b64('sha512')}:", "sha512"),
        ("content-md5", _b64("md5"), "md5"),
        ("x-goog-hash", f"crc32=AAAAAA==, md5={_b64('md5')}", "md5"),
        ("x-amz-checksum-sha256", _b64("sha256"), "sha256"),
        ("x-amz-checksum-sha1", _b64("sha1"), "sha1"),
    ],
)
def test_each_header_is_read(name: str, value: str, algorithm: str) -> None:
    assert _promised({name: value}) == {(algorithm, hashlib.new(algorithm, _BODY).hexdigest())}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("repr-digest", "whirl-9=:AAAA:"),
        ("repr-digest", "sha-256=:AAAA:"),
        ("repr-digest", f"sha-256={_b64('sha256')}"),
        ("content-md5", ""),
        ("content-md5", hashlib.md5(_BODY).hexdigest()),
        ("x-goog-hash", "crc32c=AAAA"),
        ("x-goog-hash", f"sha256={_b64('sha256')}"),
        ("x-amz-checksum-sha256", f"{_b64('sha256')}-3"),
        ("etag", hashlib.md5(_BODY).hexdigest()),
    ],
)
def test_promises_that_cannot_be_checked_are_ignored(name: str, value: str) -> None:
    assert _promised({name: value}) == set()


@pytest.mark.parametrize("field", [("x-goog-hash", "crc32c={}"), ("x-amz-checksum-crc32c", "{}")])
def test_crc32c_is_read_as_google_and_amazon_write_it(field: tuple[str, str]) -> None:
    """The check value of the algorithm's catalogue entry (CRC-32/ISCSI): "123456789" gives E3069283, big end first."""
    name, form = field
    hasher = starter("crc32c")()
    hasher.update(memoryview(bytearray(b"1234")))
    hasher.update(b"56789")

    assert hasher.hexdigest() == "e3069283"
    assert _promised({name: form.format("4waSgw==")}) == {("crc32c", "e3069283")}


@pytest.mark.parametrize("missing", ["no package", "no compiled package"])
def test_without_the_package_crc32c_is_ignored(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package = None if missing == "no package" else SimpleNamespace(implementation="python", Checksum=object)
    monkeypatch.setitem(sys.modules, "google_crc32c", package)
    _checksum.cache_clear()

    promised = _promised({"x-goog-hash": f"crc32c=4waSgw==, md5={_b64('md5')}", "x-amz-checksum-crc32c": "4waSgw=="})

    _checksum.cache_clear()
    assert promised == {("md5", hashlib.md5(_BODY).hexdigest())}


def test_a_parts_content_digest_is_not_the_whole_bodys() -> None:
    fields = {"repr-digest": f"sha-256=:{_b64('sha256')}:", "content-digest": f"sha-512=:{_b64('sha512')}:"}

    assert {algorithm for algorithm, _ in _promised(fields, is_part=True)} == {"sha256"}


def test_a_digest_of_the_encoded_body_is_ignored_after_decompression() -> None:
    fields = {"x-goog-hash": f"md5={_b64('md5')}", "x-goog-stored-content-encoding": "gzip"}

    assert _promised(fields) == set()
    assert len(_promised({**fields, "content-encoding": "gzip"})) == 1


def test_a_checksum_of_checksums_is_not_the_bodys() -> None:
    fields = {"x-amz-checksum-sha256": _b64("sha256"), "x-amz-checksum-type": "COMPOSITE"}

    assert _promised(fields) == set()


def test_a_promise_names_its_source() -> None:
    (promise,) = promises(Head.of(200, "1.1", {"content-md5": _b64("md5")}))

    assert promise == Promise("md5", hashlib.md5(_BODY).hexdigest(), "content-md5")


@given(
    st.sampled_from(["repr-digest", "content-digest", "content-md5", "x-goog-hash", "x-amz-checksum-sha256"]), st.text()
)
def test_no_text_raises(name: str, value: str) -> None:
    promises(Head.of(200, "1.1", {name: value}))
