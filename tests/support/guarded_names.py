"""Ordinary lists in a guarded world, and name servers that fail: scenarios for a netbox."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from contract.records.outcomes import Ending, ErrorClass, Outcome
from tests.support.certificates import PrivateAuthority
from tests.support.dns_stub import NO_RECORDS, NXDOMAIN, REFUSED, SERVFAIL, SILENCE, Kind, Reply
from tests.support.guarded_site import Site
from tests.support.guarded_world import CLOSED, PORT, PUBLIC, PUBLIC_6, Found, World
from tests.support.spellings import name_spellings

_LONG_LABEL = "l" * 63
_LONGEST_NAME = ".".join([_LONG_LABEL] * 3 + ["n" * 56, "test"])
_INTERNATIONAL = {  # as people write it, and as DNS knows it (UTS-46, non-transitional)
    "b\u00fccher.test": "xn--bcher-kva.test",
    "B\u00dcCHER.test": "xn--bcher-kva.test",
    "fa\u00df.test": "xn--fa-hia.test",
    "\u65e5\u672c\u8a9e.test": "xn--wgv71a119e.test",
    "\u043f\u0440\u0438\u043c\u0435\u0440.\u0438\u0441\u043f\u044b\u0442\u0430\u043d\u0438\u0435": (
        "xn--e1afmkfd.xn--80akhbyknj4f"
    ),
    "\u0645\u062b\u0627\u0644.test": "xn--mgbh0fb.test",
    "\u0909\u0926\u093e\u0939\u0930\u0923.test": "xn--p1b6ci4b4b3a.test",
    "\U0001f355.test": "xn--vi8h.test",
    "www.\u3002test".replace(".\u3002", "\u3002"): "www.test",
}
_NAMES = (
    "plain.test", "UPPER.test", "a-b.test", "a_b.test", "_dmarc.test", "1.test", "1e3.test", "0x1g.test", "x--y.test",
    "xn--bcher-kva.test", "a.b.c.d.e.f.g.test", _LONGEST_NAME,
)  # fmt: skip
_PATHS = {  # as written after the host, and as it arrives
    "": "/",
    "/": "/",
    "?q": "/?q",
    "/?": "/?",
    "/#part": "/",
    "/a/../b/./c": "/b/c",
    "//double//slash": "//double//slash",
    "/a%20b": "/a%20b",
    "/a b": "/a%20b",
    "/%2F%2e%41": "/%2F%2E%41",  # libcurl writes escapes of a path in capitals (RFC 3986 section 6.2.2.1)
    "/100%": "/100%",
    "/%zz%": "/%zz%",
    "/caf\u00e9": "/caf%C3%A9",
    "/\u65e5\u672c?\u8a9e=\u00fc": "/%E6%97%A5%E6%9C%AC?%E8%AA%9E=%C3%BC",
    "/~user/(1)!$&'*+,;=:@": "/~user/(1)!$&'*+,;=:@",
    "/<>\"{}|^`": "/%3C%3E%22%7B%7D%7C%5E%60",
    "/a?b=http://10.0.0.1/&c=%26#//x": "/a?b=http://10.0.0.1/&c=%26",
    "/a?b[]=1&b[]=2": "/a?b[]=1&b[]=2",
    f"/?{'q' * 15_000}": f"/?{'q' * 15_000}",
}  # fmt: skip
_LITERALS = (
    PUBLIC, "93.184.55330", "1572395042", "0x5db8d822", "0135.0270.0330.042", f"[{PUBLIC_6}]", f"[{PUBLIC_6.upper()}]",
    "[2606:2800:0220:0001:0000:0000:0000:0001]", f"[::ffff:{PUBLIC}]", f"{PUBLIC}.",
)  # fmt: skip


def ordinary_lists() -> Found:
    """Names, addresses, ports, paths and queries of every ordinary kind: all are fetched."""
    with World(sinks=()) as world, world.fetcher() as fetcher, Site([PUBLIC, PUBLIC_6], [80]) as at_80:
        for name in (*_NAMES, *_INTERNATIONAL.values(), "spelled.test"):
            world.dns.script(name, PUBLIC, PUBLIC_6)
        world.dns.script("four.test", PUBLIC)
        world.dns.script("six.test", PUBLIC_6)
        world.dns.script("alias.test", Reply(PUBLIC, alias="www.elsewhere.test"))
        world.dns.script("cut.test", Reply(PUBLIC, cuts_udp=True))
        world.dns.script("crowded.test", *(f"93.184.216.{last}" for last in range(1, 60)))
        hosts = [*_NAMES, *_INTERNATIONAL, *_LITERALS, "four.test", "six.test", "alias.test", "cut.test"]
        hosts += [f"{host}." for host in (*_NAMES[:-1], "b\u00fccher.test")]
        urls = [f"http://{host}:{PORT}/" for host in hosts]
        urls += [f"http://{host}/" for host in hosts] + [f"http://{host}:/" for host in hosts[:3]]
        urls += name_spellings("spelled.test", port=PORT)
        urls += [f"http://plain.test:{PORT}/here/", f"http://plain.test:0{PORT}/"]
        mapped = f"::ffff:{PUBLIC}"
        for url, outcome in fetcher.pairs(urls):
            world.stored(outcome, url, remote=(PUBLIC, PUBLIC_6, mapped))
        (outcome,) = fetcher.fetch([f"http://crowded.test:{PORT}/"])  # one of its addresses is ours
        world.stored(outcome, "a name with many addresses")
        world.found.expect(at_80.connections > 0, "nothing came to port 80")
        world.found.expect(any(query.transport == "tcp" for query in world.dns.queries("cut.test")), "not over TCP")
        _ordinary_paths(world)
    return world.found


def _ordinary_paths(world: World) -> None:
    with world.fetcher() as fetcher:
        for written, arrives in _PATHS.items():
            before = len(world.site.asked)
            (outcome,) = fetcher.fetch([f"http://four.test:{PORT}{written}"])
            world.stored(outcome, written[:80])
            targets = [asked.target for asked in world.site.asked[before:]]
            world.found.expect(targets == [arrives], f"{written[:80]!r} arrived as {str(targets)[:200]}")


def ordinary_https() -> Found:
    """Certificates fit names in every spelling, and addresses."""
    names = ("plain.test", "xn--bcher-kva.test", PUBLIC, PUBLIC_6)
    with tempfile.TemporaryDirectory(prefix="certificates-") as folder, World(sinks=()) as world:
        authority = PrivateAuthority(Path(folder))
        for name in names[:2]:
            world.dns.script(name, PUBLIC, PUBLIC_6)
        tls = authority.valid(*names).server_context()
        hosts = ("plain.test", "PLAIN.test", "plain.test.", "b\u00fccher.test", names[1], PUBLIC, f"[{PUBLIC_6}]")
        with Site([PUBLIC, PUBLIC_6], [443, 8443], tls=tls), world.fetcher(ca_file=str(authority.ca_file)) as fetcher:
            urls = [f"https://{host}{port}/" for host in hosts for port in ("", ":443", ":8443")]
            for url, outcome in fetcher.pairs(urls):
                world.stored(outcome, url)
    return world.found


def names_are_asked_once() -> Found:
    """Our resolver asks for a name once, whatever its spellings, and libcurl asks for none."""
    with World(sinks=()) as world, world.fetcher() as fetcher:
        for number in range(40):
            name = f"once{number}.closing.test"
            world.dns.script(name, PUBLIC)
            for url, outcome in fetcher.pairs(name_spellings(name, port=PORT)):
                world.stored(outcome, url)
            asked = len(world.dns.queries(name, Kind.A))
            world.found.expect(asked == 1, f"{name} was asked for {asked} times")
    return world.found


# ------------------------------------------------------------------------------------------ name servers that fail

_PATIENT = replace(CLOSED, attempts=3, connect_timeout=10.0)


def unknown_names() -> Found:
    """A name that does not exist is asked for once more, and no more."""
    with World(sinks=()) as world, world.fetcher() as fetcher:
        world.dns.script("no-records.test", NO_RECORDS)
        world.dns.script("late.test", NXDOMAIN, Reply(PUBLIC))
        for name in ("unknown.test", "no-records.test"):
            for outcome in fetcher.fetch([f"http://{name}:{PORT}/{number}" for number in range(20)], _PATIENT):
                _expect_dns(world, outcome)
            # Twenty URLs share an answer; the second attempts share another.
            asked = len(world.dns.queries(name, Kind.A))
            world.found.expect(asked == 2, f"{name} was asked for {asked} times")
        (outcome,) = fetcher.fetch([f"http://late.test:{PORT}/"], _PATIENT)
        world.stored(outcome, "a name that exists when asked again")
        world.found.expect([each.error for each in outcome.attempts] == [ErrorClass.DNS, None], f"{outcome}")
    return world.found


def failing_name_servers() -> Found:
    """Errors and silence are transient: every attempt asks again, and one that is answered is fetched."""
    with World(sinks=()) as world, world.fetcher() as fetcher:
        patient = replace(_PATIENT, attempts=2)  # a silent name server costs a second each time
        for name, failure in {"servfail.test": SERVFAIL, "refused.test": REFUSED, "silent.test": SILENCE}.items():
            world.dns.script(name, failure)
            world.dns.script(f"then-{name}", failure, Reply(PUBLIC))
            failed, stored = fetcher.fetch([f"http://{name}:{PORT}/", f"http://then-{name}:{PORT}/"], patient)
            _expect_dns(world, failed)
            asked = len(world.dns.queries(name, Kind.A))
            world.found.expect(asked >= 2, f"{name} was asked for {asked} times in 2 attempts")
            world.stored(stored, f"then-{name}")
    return world.found


def _expect_dns(world: World, outcome: Outcome) -> None:
    world.found.probes += 1
    is_dns = outcome.ending is Ending.FAILED and outcome.error is ErrorClass.DNS
    world.found.expect(is_dns, f"not a failed name: {outcome}")
    world.found.expect(len(outcome.attempts) == 2, f"{len(outcome.attempts)} attempts: {outcome}")
