"""Headers go to the host they belong to and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.errors import MessageError, SettingError
from contract.records.credentials import NO_CREDENTIALS, Credentials, read_credentials

TOKEN = "Bearer canary-5f1d"


HOST = "example.com"
ORIGINS = [
    *[(scheme, HOST, port) for scheme in ("http", "https") for port in (80, 443, 8443)],
    ("https", "evil.example", 443), ("https", f"sub.{HOST}", 443), ("https", "xn--bcher-kva.test", 8443),
    ("http", "127.0.0.1", 8080), ("https", "127.0.0.1", 8080), ("https", "::1", 443), ("https", "::1", 8080),
    ("https", "::1:8080", 443), ("https", "2001:db8::5", 80), ("https", "2001:db8::5:80", 443),
]  # fmt: skip


@pytest.mark.parametrize(
    ("written", "origin"),
    [
        ("Example.com", ("https", HOST, 443)),
        ("EXAMPLE.com.", ("https", HOST, 443)),
        ("https://example.com", ("https", HOST, 443)),
        ("HTTPS://example.com:443/", ("https", HOST, 443)),
        # Writing http:// shows that the user accepts unencrypted headers.
        ("http://example.com", ("http", HOST, 80)),
        ("http://127.0.0.1:8080/", ("http", "127.0.0.1", 8080)),
        ("example.com:8443", ("https", HOST, 8443)),
        ("example.com:80", ("https", HOST, 80)),  # the port does not make it http
        ("b\u00fccher.test:8443", ("https", "xn--bcher-kva.test", 8443)),
        ("127.1:8080", ("https", "127.0.0.1", 8080)),
        ("[::1]", ("https", "::1", 443)),
        ("::1", ("https", "::1", 443)),
        ("[0:0::1]:08080", ("https", "::1", 8080)),
        # Without brackets, what is for port 8080 of ::1 would go to the address ::1:8080.
        ("[::1]:8080", ("https", "::1", 8080)),
        ("2001:db8::5:80", ("https", "2001:db8::5:80", 443)),
    ],
)
def test_a_header_goes_to_the_one_origin_it_is_written_for(written: str, origin: tuple[str, str, int]) -> None:
    credentials = read_credentials([f"{written} X-Key: k"])

    assert {each: credentials.for_origin(*each) for each in ORIGINS if credentials.for_origin(*each)} == {
        origin: (("X-Key", "k"),)
    }


def test_credentials_made_in_code_need_brackets_around_ipv6_addresses() -> None:
    """Guards ``_bracketed``: both sides left bare would agree with each other, and not with what is documented."""
    pairs = (("X-Key", "k"),)

    assert Credentials({"https://[::1]:8080": pairs}).for_origin("https", "::1", 8080) == pairs
    assert read_credentials(["[::1]:8080 X-Key: k"]).headers == {"https://[::1]:8080": pairs}


def test_credentials_are_packed_and_never_shown() -> None:
    credentials = read_credentials([f"example.com Authorization: {TOKEN}"])

    assert Credentials.unpack(credentials.pack()) == credentials
    assert "canary" not in repr(credentials)
    assert NO_CREDENTIALS.pack() is None
    assert Credentials.unpack(None) == NO_CREDENTIALS
    with pytest.raises(MessageError):
        Credentials.unpack(b"junk")


@pytest.mark.parametrize(
    "option",
    [
        "", "example.com", "example.com Authorization", "example.com Bad Name: x", "example.com A: b\r\nC: d",
        "example.com Host: other", "ftp://example.com Authorization: other", "https:/example.com Authorization: other",
        "https://example.com/path Authorization: other", "https://user@example.com Authorization: other",
        "//example.com Authorization: other", "user@example.com Authorization: other",
        "example.com:https Authorization: other", "[::1 Authorization: other",
    ],
)  # fmt: skip
def test_a_header_that_cannot_be_sent_is_refused_without_repeating_it(option: str) -> None:
    with pytest.raises(SettingError) as raised:
        read_credentials([option])

    assert "other" not in str(raised.value)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "headers"
    path.touch(0o600)
    return path


def test_headers_are_read_from_a_private_file(file: Path) -> None:
    """Guards the mode and the sentences: the option exists to hide the secret from other users."""
    file.write_text(f"# a comment\n\nexample.com Authorization: {TOKEN}\nhttp://plain.test X-Key: k\n")

    credentials = read_credentials([f"@{file}", "example.com X-Key: other"])

    assert credentials.for_origin("https", "example.com", 443) == (("Authorization", TOKEN), ("X-Key", "other"))
    assert credentials.for_origin("http", "plain.test", 80) == (("X-Key", "k"),)
    file.write_text(f"example.com {TOKEN}\n")
    with pytest.raises(SettingError, match=f"{file} line 1 must look like") as raised:
        read_credentials([f"@{file}"])
    assert TOKEN not in str(raised.value)
    file.chmod(0o640)
    with pytest.raises(SettingError, match="chmod 600"):
        read_credentials([f"@{file}"])


def test_a_file_from_windows_is_read(file: Path) -> None:
    """Guards the byte order mark and CR LF."""
    file.write_bytes("\ufeffexample.com X-Key: k\r\n\r\nexample.com X-Other: o\r\n".encode())

    credentials = read_credentials([f"@{file}"])

    assert credentials.for_origin("https", "example.com", 443) == (("X-Key", "k"), ("X-Other", "o"))


@pytest.mark.parametrize(
    "end", ["\u2028", "\x0b", "\x0c", "\x85", "\x1f", "\x00", "\u2028example.com B: b", "\rexample.com B: b"]
)
def test_only_a_line_feed_ends_a_header(file: Path, end: str) -> None:
    """Guards the split: ``splitlines`` also splits at other characters, which made two headers of one."""
    file.write_bytes(f"# a comment\nexample.com X-Key: k{end}\n".encode())

    with pytest.raises(SettingError, match=f"{file} line 2 has a value that cannot be sent"):
        read_credentials([f"@{file}"])


@pytest.mark.parametrize("text", ["", "\n \r\n# example.com X-Key: k\n", "\ufeff"])
def test_a_file_without_headers_is_refused(file: Path, text: str) -> None:
    """Guards the check: every request went out without its login."""
    file.write_text(text, "utf-8")

    with pytest.raises(SettingError, match=f"{file} has no headers"):
        read_credentials([f"@{file}"])


def test_headers_too_large_for_a_request_are_refused_with_the_limit(file: Path) -> None:
    """Guards each limit: all URLs failed, because libcurl sends no request of that size."""
    header = f"example.com X-Key: {'k' * 8_187}"
    assert read_credentials([header]).headers

    with pytest.raises(SettingError, match=r"--header is larger than 8 KB"):
        read_credentials([header + "k"])
    with pytest.raises(SettingError, match=r"are larger than 256 KB in all"):
        read_credentials([header] * 33)
    file.write_text("#" * (1024 * 1024 + 1))
    with pytest.raises(SettingError, match=r"is larger than 1 MB"):
        read_credentials([f"@{file}"])


def test_netrc_becomes_basic_authorization_per_host(file: Path) -> None:
    file.write_text(
        "machine example.com login ada password love\n"
        "machine http://plain.test:8080 login ada password love\n"
        "default login x password y\n"
    )

    credentials = read_credentials([], str(file))

    assert credentials.for_origin("https", "example.com", 443) == (("Authorization", "Basic YWRhOmxvdmU="),)
    assert credentials.for_origin("http", "example.com", 80) == ()
    assert credentials.for_origin("http", "plain.test", 8080) == (("Authorization", "Basic YWRhOmxvdmU="),)
    assert credentials.for_origin("https", "other.example", 443) == ()


def test_a_netrc_others_can_read_is_refused(file: Path) -> None:
    file.write_text("machine example.com login ada password love\n")
    file.chmod(0o644)

    with pytest.raises(SettingError, match="chmod 600"):
        read_credentials([], str(file))


@pytest.mark.parametrize(("text", "said"), [(b"machine\n", "not a netrc file"), (b"machine \xff\n", "it is not text")])
def test_a_broken_netrc_is_one_sentence(file: Path, text: bytes, said: str) -> None:
    file.write_bytes(text)

    with pytest.raises(SettingError, match=said):
        read_credentials([], str(file))
