"""Headers and logins given for a host are sent there over https, and nowhere else; over http where that was written.

What the servers were really sent is looked at, so it counts what libcurl does, not what we meant it to do.
``python -m tests.mutants credentials`` takes out the lines these tests protect.
"""

from __future__ import annotations

import logging
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from contract.records import wire
from contract.records.credentials import Credentials, read_credentials
from contract.records.outcomes import Outcome
from contract.records.policy import JobPolicy
from tests.support.certificates import PrivateAuthority
from tests.support.fetching import Bench
from tests.support.guarded_site import Asked, Site, moved, reply, sent_anywhere
from tests.support.guarded_world import Found, boxed
from tests.support.person import Person

TOKEN = "canary-8b1e07"
OPEN = JobPolicy(allow_nets=("127.0.0.0/8", "::1"), timeout=30.0, first_wait=0.01, longest_wait=0.01)

Fetch = Callable[..., list[Outcome]]


@contextmanager
def fetching(credentials: Credentials, **settings: object) -> Iterator[Fetch]:
    """Yield a function that fetches URLs with these credentials; every name is 127.0.0.1.

    With one transfer at a time all of them go through one easy handle of libcurl, one after the other.
    """
    with (
        tempfile.TemporaryDirectory(prefix="wire-") as folder,
        Bench(Path(folder), look_up=lambda host: ("127.0.0.1",), **settings) as bench,  # type: ignore[arg-type]  # the settings' own names
    ):
        yield lambda urls, given=credentials: bench.outcomes(urls, OPEN, given)


def who_was_told(site: Site) -> set[str]:
    """Return the Host fields of the requests that carried the token."""
    return {asked.header("host") or "" for asked in sent_anywhere(site.asked, TOKEN)}


@pytest.fixture
def site() -> Iterator[Site]:
    with Site(["127.0.0.1"], [0, 0]) as running:
        yield running


def for_one(port: int) -> Credentials:
    return read_credentials([f"http://one.test:{port} Authorization: Bearer {TOKEN}"])


# ---------------------------------------------------------------------------------------------- host and port


def test_a_header_goes_to_its_host_and_port_only(site: Site) -> None:
    mine, other = site.ports
    hosts = ("one.test", "ONE.test", "one.test.", "two.test", "a.one.test", "one.test.evil.test", "notone.test")

    with fetching(for_one(mine)) as fetch:
        outcomes = fetch([f"http://{host}:{port}/{n}" for host in hosts for port in (mine, other) for n in range(5)])

    assert {outcome.ending for outcome in outcomes} == {"ok"}
    assert len(site.asked) == len(outcomes)
    assert {host.removesuffix(f":{mine}") for host in who_was_told(site)} <= {"one.test", "one.test."}
    assert len(sent_anywhere(site.asked, TOKEN)) == 15


@pytest.mark.parametrize("transfers", [1, 2, 64])
def test_a_recycled_handle_carries_nothing_over(site: Site, transfers: int) -> None:
    """Protects unsetting HTTPHEADER: for pycurl an empty list changes nothing."""
    mine, other = site.ports
    urls = []
    for number in range(100):
        urls += [
            f"http://one.test:{mine}/{number}",
            f"http://two.test:{mine}/{number}",
            f"http://one.test:{other}/{number}",
        ]

    with fetching(for_one(mine), transfers=transfers) as fetch:
        fetch(urls)
        fetch([f"{url}/again" for url in urls])

    assert who_was_told(site) == {f"one.test:{mine}"}
    assert len(sent_anywhere(site.asked, TOKEN)) == 200


def test_an_ipv6_address_has_its_own_too() -> None:
    with Site(["::1"], [0]) as site:
        port = site.ports[0]
        with fetching(read_credentials([f"http://[::1]:{port} X-Key: {TOKEN}"])) as fetch:
            fetch([f"http://[::1]:{port}/", f"http://[0:0::1]:{port}/again", f"http://two.test:{port}/"])

    assert len(site.asked) == len(sent_anywhere(site.asked, TOKEN)) == 2


# -------------------------------------------------------------------------------------------------- redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_header_is_not_sent_when_a_redirect_leaves_its_origin(site: Site, status: int) -> None:
    """It is sent again if a later redirect comes back: it belongs to the origin, not to the transfer."""
    mine, other = site.ports
    trail = [f"one.test:{mine}", f"two.test:{mine}", f"one.test:{other}", f"127.0.0.1:{mine}", f"one.test:{mine}"]

    def answer(asked: Asked) -> bytes:
        at = int(asked.target.rpartition("/")[2])
        return moved(f"http://{trail[at + 1]}/{at + 1}", status=status) if at + 1 < len(trail) else reply()

    site.answer = answer
    with fetching(for_one(mine), transfers=1) as fetch:
        (outcome,) = fetch([f"http://{trail[0]}/0"])

    assert outcome.ending == "ok"
    assert [asked.header("host") for asked in site.asked] == trail
    assert [asked.target for asked in sent_anywhere(site.asked, TOKEN)] == ["/0", "/4"]


def test_a_redirect_to_a_host_gets_its_headers(site: Site) -> None:
    mine, other = site.ports
    site.answer = lambda asked: moved(f"http://one.test:{mine}/end") if asked.target == "/start" else reply()

    with fetching(for_one(mine)) as fetch:
        fetch([f"http://evil.test:{other}/start"])

    assert [asked.target for asked in sent_anywhere(site.asked, TOKEN)] == ["/end"]


@pytest.fixture
def authority(tmp_path: Path) -> PrivateAuthority:
    return PrivateAuthority(tmp_path / "authority")


@pytest.fixture
def tls(authority: PrivateAuthority) -> ssl.SSLContext:
    return authority.valid("one.test", "two.test").server_context()


def test_no_header_follows_from_https_to_http(authority: PrivateAuthority, tls: ssl.SSLContext) -> None:
    """Not to the same host on a port that has credentials of its own, nor back to https after that."""
    with Site(["127.0.0.1"]) as plain, Site(["127.0.0.1"], tls=tls) as safe:
        plain_at, safe_at = f"one.test:{plain.ports[0]}", f"one.test:{safe.ports[0]}"
        plain.answer = lambda asked: moved(f"https://{safe_at}/back")
        safe.answer = lambda asked: moved(f"http://{plain_at}/down") if asked.target == "/start" else reply()
        places = (f"http://{plain_at}", safe_at)
        given = read_credentials([f"{place} Authorization: Bearer {TOKEN}" for place in places])
        with fetching(given, ca_file=str(authority.ca_file)) as fetch:
            down, direct = fetch([f"https://{safe_at}/start", f"https://{safe_at}/direct"])

    assert (down.ending, "downgraded" in down.notes, direct.ending) == ("ok", True, "ok")
    assert [asked.target for asked in plain.asked] == ["/down"]
    assert sent_anywhere(plain.asked, TOKEN) == []
    assert {asked.target for asked in sent_anywhere(safe.asked, TOKEN)} == {"/start", "/direct"}


def on_default_ports() -> Found:
    """A host without scheme and port has its header on 443 over TLS: for a netbox, where these ports are free."""
    found = Found()
    with tempfile.TemporaryDirectory(prefix="certificates-") as folder:
        authority = PrivateAuthority(Path(folder))
        tls = authority.valid("one.test").server_context()
        given = read_credentials([f"one.test Authorization: Bearer {TOKEN}"])
        with (
            Site(["127.0.0.1"], [80, 8080]) as plain,
            Site(["127.0.0.1"], [443, 8443], tls=tls) as safe,
            fetching(given, ca_file=str(authority.ca_file)) as fetch,
        ):
            safe.answer = lambda asked: moved("http://one.test/down") if asked.target == "/start" else reply()
            urls = ["http://one.test/", "http://one.test:8080/", "https://one.test/", "https://one.test:8443/"]
            urls += ["http://two.test/", "https://one.test/start"]
            endings = {outcome.ending for outcome in fetch(urls)}
            found.expect(endings == {"ok"}, f"{endings}")
            told = {(asked.port, asked.target) for asked in sent_anywhere([*plain.asked, *safe.asked], TOKEN)}
            found.expect(told == {(443, "/"), (443, "/start")}, f"{told}")
            found.expect(len(plain.asked) == 4, f"{plain.asked}")
            written = read_credentials([f"http://one.test Authorization: Bearer {TOKEN}"])
            fetch(["http://one.test/written", "https://one.test/written"], written)
            told = {(asked.port, asked.target) for asked in sent_anywhere([*plain.asked, *safe.asked], TOKEN)}
            found.expect(told == {(443, "/"), (443, "/start"), (80, "/written")}, f"{told}")
    return found


def test_a_host_alone_means_https_on_its_default_port() -> None:
    assert boxed(on_default_ports).faults == []


# ---------------------------------------------------------------------------------------------------- cookies


def test_a_cookie_is_sent_within_its_chain_only(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Guards that cookies end with their attempt: no other URL, host, log or row gets one."""
    mine, other = site.ports
    wall = f"id={TOKEN}; Path=/"

    def answer(asked: Asked) -> bytes:
        if asked.target.startswith("/wall") and not asked.header("cookie"):
            return moved(asked.target, f"Set-Cookie: {wall}")
        if asked.target == "/away":
            return moved(f"http://two.test:{mine}/away/2", f"Set-Cookie: {wall}")
        return reply(200, f"Set-Cookie: {wall}")

    site.answer = answer
    urls = [f"http://one.test:{port}/{path}" for port in (mine, other) for path in ("wall/1", "plain/1", "away")]
    with caplog.at_level(logging.DEBUG), fetching(Credentials(), transfers=1) as fetch:
        outcomes = fetch([*urls, *(f"{url}/again" for url in urls)])

    assert {outcome.ending for outcome in outcomes} == {"ok"}
    brought = sent_anywhere(site.asked, TOKEN)
    assert {asked.target for asked in brought} == {"/wall/1", "/wall/1/again"}
    assert {asked.header("cookie") for asked in brought} == {f"id={TOKEN}"}
    assert len(brought) == 4
    assert TOKEN not in wire.to_json(outcomes) + repr(outcomes) + caplog.text


def test_a_cookie_of_the_user_stays_beside_those_of_the_chain(site: Site) -> None:
    mine, _ = site.ports
    given = read_credentials([f"http://one.test:{mine} Cookie: id={TOKEN}; lang=en"])
    set_both = ("Set-Cookie: id=theirs", "Set-Cookie: seen=caf\xe9")
    site.answer = lambda asked: moved("/2", *set_both) if asked.target == "/1" else reply()

    with fetching(given, transfers=1) as fetch:
        fetch([f"http://one.test:{mine}/1", f"http://one.test:{mine}/3"])

    cookies = [asked.header("cookie") for asked in site.asked]
    assert cookies == [f"id={TOKEN}; lang=en", f"id={TOKEN}; lang=en; seen=caf\xe9", f"id={TOKEN}; lang=en"]


# ----------------------------------------------------------------------------------- retries, results and logs


def test_each_attempt_sends_the_headers_of_its_host(site: Site) -> None:
    """An attempt that ended elsewhere does not send its header there, nor lose it for the next one."""
    mine, other = site.ports
    seen: list[str] = []

    def answer(asked: Asked) -> bytes:
        seen.append(asked.target)
        if asked.target == "/start":
            return moved(f"http://two.test:{other}/busy")
        return reply(503) if seen.count("/busy") < 3 else reply()

    site.answer = answer
    with fetching(for_one(mine), transfers=1) as fetch:
        (outcome,) = fetch([f"http://one.test:{mine}/start"])

    assert (outcome.ending, len(outcome.attempts)) == ("ok", 3)
    assert seen == ["/start", "/busy"] * 3
    assert [asked.target for asked in sent_anywhere(site.asked, TOKEN)] == ["/start"] * 3


def test_credentials_are_neither_stored_nor_shown(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    mine, other = site.ports
    echo = f"X-Echo: {TOKEN}"  # a server that repeats what it was sent
    site.answer = lambda asked: reply(404 if asked.target == "/gone" else 200, echo, "Connection: close")
    urls = [f"http://one.test:{mine}/{path}" for path in ("ok", "gone")] + [f"http://one.test:{other}/ok"]
    urls.append("http://one.test:1/refused")

    with caplog.at_level(logging.DEBUG), fetching(for_one(mine)) as fetch:
        outcomes = fetch([*urls, f"http://10.0.0.1:{mine}/"])

    rows = wire.to_json(outcomes)
    assert sorted(outcome.ending for outcome in outcomes) == ["failed", "ok", "ok", "refused", "refused"]
    assert TOKEN not in rows + repr(outcomes) + caplog.text


def test_the_command_sends_credentials_and_keeps_them_out_of_its_files(
    site: Site, tmp_path: Path, person: Person
) -> None:
    """``trawl run --header --netrc``; a netrc in the home folder is not read."""
    mine, other = site.ports
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".netrc").write_text(
        "default login not password asked-for\nmachine 127.0.0.1 login a password b"
    )
    logins = tmp_path / "logins"
    logins.touch(mode=0o600)
    logins.write_text(
        f"default login x password {TOKEN}\nmachine http://127.0.0.1:{other} login ada password {TOKEN}\n"
    )
    urls = [f"http://127.0.0.1:{port}/{number}" for port in (mine, other) for number in range(10)]
    listed = person.write_list(*urls, f"http://localhost:{mine}/")
    options = ["--header", f"http://127.0.0.1:{mine} X-Key: {TOKEN}", "--netrc", "logins", "--allow-net", "127.0.0.0/8"]

    ended = person.trawl("run", listed, "-o", "out", "--processes", "1", *options)

    assert ended.code == 0, ended.err
    by_port = {port: [asked for asked in site.asked if asked.port == port] for port in (mine, other)}
    keyed = [asked for asked in by_port[mine] if asked.header("x-key") == TOKEN]
    assert len(keyed) == 10
    assert {asked.header("host") for asked in keyed} == {f"127.0.0.1:{mine}"}
    assert len(by_port[mine]) == 11
    assert all(asked.header("authorization") is None for asked in by_port[mine])
    assert all(asked.header("x-key") is None for asked in by_port[other])
    basic = {asked.header("authorization") for asked in by_port[other]}
    assert len(by_port[other]) == 10
    assert len(basic) == 1
    assert str(basic.pop()).startswith("Basic ")
    kept = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert [path for path in kept if TOKEN.encode() in path.read_bytes()] == []
    assert TOKEN not in ended.out + ended.err
