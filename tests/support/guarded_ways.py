"""The ways a list could make a worker contact a refused address: each is a scenario for a netbox."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from ipaddress import ip_address
from itertools import zip_longest
from typing import Any

from contract.records.outcomes import Ending, ErrorClass, Outcome
from contract.records.policy import JobPolicy
from tests.support.dns_stub import Reply
from tests.support.guarded_world import (
    CLOSED,
    EGRESS,
    EVERYTHING,
    OTHER_PUBLIC,
    PORT,
    PROXY_PORT,
    PUBLIC,
    PUBLIC_6,
    SITE,
    WIDE_OPEN,
    Fetcher,
    Found,
    World,
    distinct,
    name_spellings,
    variables_set,
)
from tests.support.spellings import (
    DENIED_ADDRESSES,
    PRIVATE_ADDRESSES,
    PUBLIC_ADDRESSES,
    Spelling,
    locations,
    spellings,
)
from worker.engine.safety import AddressPolicy, Tier, tier_of

# ------------------------------------------------------------------------------------------- by its address


def asked_directly() -> Found:
    """Every spelling of every closed address, on three ports and by both schemes."""
    with World() as world, world.fetcher() as fetcher:
        for address in DENIED_ADDRESSES:
            _try(world, fetcher, spellings(address, port=PORT))
            _try(world, fetcher, spellings(address))
            _try(world, fetcher, spellings(address, scheme="https"))
    return world.found


def asked_by_http_3() -> Found:
    """The same over QUIC: its datagrams leave by another kind of socket."""
    with World() as world, world.fetcher() as fetcher:
        for address in DENIED_ADDRESSES:
            _try(world, fetcher, spellings(address, port=PORT, scheme="https"), replace(CLOSED, http3=True))
    return world.found


def asked_in_a_crowd() -> Found:
    """All at once, with so many transfers that the lanes wait by epoll, and good URLs between the hostile ones."""
    with World() as world, world.fetcher(transfers=600, lanes=2) as fetcher:
        spelled = [each for address in DENIED_ADDRESSES for each in distinct(spellings(address, port=PORT))]
        good = [f"{SITE}/{number}" for number in range(400)]
        led = [each.url for address in DENIED_ADDRESSES for each in _led_to(address)][:400]
        asked = world.redirects_to(led)
        urls = [each.url for each in spelled]
        found = dict(_pairs(fetcher, [url for three in zip_longest(urls, good, asked) for url in three if url]))
        for spelling in spelled:
            _expect_refusal(world, spelling, found[spelling.url])
        for url in good:
            world.stored(found[url], url)
        for url in asked:
            world.refused(found[url], url)
    return world.found


def reached_by_redirect() -> Found:
    """A public server leads to every spelling; to some by two hops, and without naming the scheme."""
    with World() as world, world.fetcher() as fetcher:
        for number, address in enumerate(DENIED_ADDRESSES):
            spelled = _led_to(address)
            asked = world.redirects_to(each.url for each in spelled)
            _follow(world, fetcher, asked, spelled, hops=1)
            if number % 4 == 0:
                _follow(world, fetcher, world.redirects_to(asked), spelled, hops=2)
                bare = [each for each in spelled if each.url.startswith("http://")]
                asked_bare = world.redirects_to(each.url.removeprefix("http:") for each in bare)
                _follow(world, fetcher, asked_bare, bare, hops=1)
    return world.found


def _led_to(address: str) -> list[Spelling]:
    """Return what fits a Location; a line feed would end it."""
    return [each for each in distinct(locations(address, port=PORT)) if not {"\n", "\0"} & set(each.url)]


def _follow(world: World, fetcher: Fetcher, urls: Iterable[str], spelled: Iterable[Spelling], *, hops: int) -> None:
    for spelling, outcome in zip(spelled, fetcher.fetch(urls), strict=True):
        _expect_refusal(world, spelling, outcome)
        world.found.expect(len(outcome.attempts) == 1, f"not tried: {outcome}")
        # A URL that is refused by its text is no hop; one whose address is refused was on its way there.
        is_judged = outcome.redirects == (hops if spelling.reaches else hops - 1)
        world.found.expect(is_judged, f"{outcome.redirects} redirects: {spelling}")


def met_in_the_pool() -> Found:
    """A job that may talk to an address leaves its connections open; a job that may not must find none of them."""
    with World(sinks=(), site=("0.0.0.0", "::")) as world, world.fetcher() as fetcher:
        denying = replace(CLOSED, deny_nets=EVERYTHING)
        tried = [(address, WIDE_OPEN, CLOSED, "--allow-net") for address in PRIVATE_ADDRESSES]
        tried += [(address, CLOSED, denying, "--deny-net") for address in PUBLIC_ADDRESSES]
        for address, opening, closing, hint in tried:
            url = distinct(spellings(address, port=PORT))[0].url
            if fetcher.fetch([url], opening)[0].ending is Ending.OK:
                _meet(world, fetcher, url, spellings(address, port=PORT), opening, closing, hint)
        world.found.expect(world.found.counts["addresses"] >= 60, "too few connections to be found")
    return world.found


def _meet(
    world: World,
    fetcher: Fetcher,
    url: str,
    spelled: Iterable[Spelling],
    opening: JobPolicy,
    closing: JobPolicy,
    hint: str,
) -> None:
    before, connections = len(world.site.asked), world.site.connections
    ours = distinct(spelled)
    for spelling, outcome in zip(ours, fetcher.fetch((each.url for each in ours), closing), strict=True):
        same = spelling.reaches is not None and _is_same(spelling.reaches, ours[0].reaches)
        world.refused(outcome, spelling, hints=hint if same else "")
    world.found.expect(len(world.site.asked) == before, f"asked over a pooled connection: {url}")
    world.found.expect(world.site.connections == connections, f"connected anew: {url}")
    fetcher.fetch([url], opening)
    world.found.expect(world.site.connections == connections, f"there was no pooled connection to find: {url}")
    world.found.count_of("addresses")


def reached_through_a_proxy() -> Found:
    """The variables programs read name a proxy on a public address: nothing is sent there, whatever is asked."""
    proxy, socks = f"http://{OTHER_PUBLIC}:{PROXY_PORT}", f"socks5h://{OTHER_PUBLIC}:{PROXY_PORT}"
    names = [f"{scheme}_proxy" for scheme in ("http", "https", "all")]
    names += [name.upper() for name in names]
    with World() as world, world.fetcher() as fetcher:
        world.dns.script("named.test", PUBLIC)
        world.dns.script("closed.test", "10.0.0.1")
        for chosen in [{name: proxy} for name in names] + [{name: socks} for name in names]:
            for exception in ({}, {"no_proxy": "*"}, {"NO_PROXY": "10.0.0.0/8,127.0.0.1,93.184.216.34"}):
                with variables_set({**chosen, **exception}):
                    _try(world, fetcher, spellings("127.0.0.1", port=PORT))
                    _try_through_proxy(world, fetcher)
        with variables_set(dict.fromkeys(names, proxy)):
            for address in DENIED_ADDRESSES:
                _try(world, fetcher, spellings(address, port=PORT))
                _try(world, fetcher, spellings(address, scheme="https"))
    return world.found


def _try_through_proxy(world: World, fetcher: Fetcher) -> None:
    named = fetcher.fetch([f"http://closed.test:{PORT}/", f"https://closed.test:{PORT}/"])
    for outcome in named:
        world.refused(outcome, "a name through a proxy", error=ErrorClass.REFUSED_ADDRESS)
    for outcome in fetcher.fetch([f"{SITE}/", f"http://named.test:{PORT}/"]):
        world.stored(outcome, "past the proxy", remote=(PUBLIC,))


def closed_behind_an_open_connection() -> Found:
    """A verdict changes while a connection is open: what is pooled is judged before each request."""
    with World(sinks=(), site=("0.0.0.0", "::")) as world, world.fetcher() as fetcher:
        urls = [distinct(spellings(address, port=PORT))[0].url for address in PRIVATE_ADDRESSES]
        opened = [outcome.url for outcome in fetcher.fetch(urls, WIDE_OPEN) if outcome.ending is Ending.OK]
        before, connections = len(world.site.asked), world.site.connections
        world.found.count_of("addresses", len(opened))
        world.found.expect(len(opened) >= 30, "too few connections to be found")
        # No setting does this to a lane; it is what the second line of defence is for.
        for lane in (lane for lanes in fetcher.downloader._lanes.values() for lane in lanes):
            http: Any = lane._http
            name = "judge" if world.proxy is None else "aims"
            object.__setattr__(http._common, name, lru_cache(AddressPolicy().verdict))  # frozen
        for _ in range(3):
            for url, outcome in _pairs(fetcher, opened, WIDE_OPEN):
                world.refused(outcome, url, error=ErrorClass.REFUSED_ADDRESS, hints="--allow-net")
        world.found.expect(len(world.site.asked) == before, "asked over a pooled connection")
        world.found.expect(world.site.connections == connections, "connected anew")
    return world.found


# -------------------------------------------------------------------------------------------------- by a name


def named_by_dns() -> Found:
    """A name stands for a closed address, in each spelling of the name."""
    with World() as world, world.fetcher() as fetcher:
        for number, address in enumerate(DENIED_ADDRESSES):
            name = f"n{number}.names.test"
            world.dns.script(name, address)
            for url, outcome in _pairs(fetcher, name_spellings(name)):
                _expect_refused_address(world, f"{url} at {address}", outcome, address)
    return world.found


def rebound_by_dns() -> Found:
    """A name stands for a public address when it is first looked up, and for a closed one afterwards."""
    with World() as world, world.fetcher() as fetcher:
        for number, address in enumerate(DENIED_ADDRESSES):
            closing, pooled = f"r{number}.closing.test", f"p{number}.rebind.test"
            for name in (closing, pooled):
                world.dns.script(name, Reply(PUBLIC), Reply(address))
                world.stored(fetcher.fetch([f"http://{name}:{PORT}/"])[0], name)
            world.grow_old()
            for url, outcome in _pairs(fetcher, name_spellings(closing)):
                _expect_refused_address(world, f"{url} at {address}", outcome, address)
            # The public server's connection is still open, so it may be asked once more: it is who was judged.
            for url, outcome in _pairs(fetcher, name_spellings(pooled)):
                if outcome.ending is Ending.OK:
                    world.stored(outcome, url)
                else:
                    _expect_refused_address(world, f"{url} at {address}", outcome, address)
                world.found.count_of(f"pooled: {outcome.ending}")
    return world.found


def rebound_within_a_transfer() -> Found:
    """The answer changes between two attempts, and between two hops, of one transfer."""
    with World() as world, world.fetcher() as fetcher:
        for number, address in enumerate(DENIED_ADDRESSES):
            for path in ("busy-and-later", "on-and-later"):
                name = f"w{number}.{path}.test"
                world.dns.script(name, Reply(PUBLIC), Reply(address))
                (outcome,) = fetcher.fetch([f"http://{name}:{PORT}/{path}"])
                world.found.probes += 1
                errors = [attempt.error for attempt in outcome.attempts]
                retried = [ErrorClass.HTTP_5XX] if path == "busy-and-later" else []
                world.found.expect(errors == [*retried, ErrorClass.REFUSED_ADDRESS], f"{address}: {outcome}")
                world.found.expect(outcome.ending is Ending.REFUSED, f"not refused: {address} {outcome}")
    return world.found


def mixed_by_dns() -> Found:
    """A name has a public and a closed address: the public one is asked, the closed one never."""
    with World() as world, world.fetcher() as fetcher:
        for number, address in enumerate(DENIED_ADDRESSES):
            name = f"m{number}.closing.test"  # a new connection for every URL
            public = PUBLIC_6 if number % 3 == 0 else PUBLIC
            world.dns.script(name, *((address, public) if number % 2 else (public, address)))
            for url, outcome in _pairs(fetcher, name_spellings(name)):
                world.stored(outcome, f"{url} at {address}")
        world.dns.script("crowd.closing.test", *DENIED_ADDRESSES, PUBLIC)
        for url, outcome in _pairs(fetcher, name_spellings("crowd.closing.test")):
            world.stored(outcome, url)
        world.dns.script("closed-crowd.test", *DENIED_ADDRESSES)
        for url, outcome in _pairs(fetcher, name_spellings("closed-crowd.test")):
            world.refused(outcome, url, error=ErrorClass.REFUSED_ADDRESS)
    return world.found


def known_to_the_machine() -> Found:
    """Names that need no name server: libcurl and resolvers know them by themselves."""
    names = ("localhost", "LOCALHOST", "localhost.", "a.localhost", "localhost.localdomain", "ip6-localhost")
    with World() as world, world.fetcher() as fetcher:
        for name in names:
            for url, outcome in _pairs(fetcher, [f"http://{name}:{PORT}/", f"https://{name}/"]):
                world.found.probes += 1
                is_closed = outcome.error in (ErrorClass.REFUSED_ADDRESS, ErrorClass.DNS)
                world.found.expect(is_closed, f"{url}: {outcome}")
    return world.found


# ------------------------------------------------------------------------------- what no job may open


def aimed_at_our_own_services() -> Found:
    """Broker, backend and the services that were named, with every network open."""
    environment = {
        "TRAWL_BROKER_URL": "rediss://:secret@10.20.30.40:7000/0",
        "TRAWL_RESULT_BACKEND": "redis://backend.own.test:7001/1",
    }
    named = ("flower.own.test:5555", "127.0.0.1:9808", "0.0.0.0:9540", "[fd00:5::1]:9090", f"{PUBLIC}:7002")
    own = [("10.20.30.40", 7000), ("172.20.0.2", 7001), ("fd00:5::2", 7001), ("192.168.77.7", 5555)]
    own += [("127.0.0.1", 9808), ("127.9.9.9", 9808), ("::1", 9808), ("fd00:5::1", 9090), (PUBLIC, 7002)]
    own += [(address, 9540) for address in ("10.1.1.1", "127.0.0.1", "::1", "fd00::7", PUBLIC, PUBLIC_6, "8.8.8.8")]
    with World(sinks=(7000, 7001, 5555, 9808, 9540, 9090, 7002)) as world:
        world.dns.script("backend.own.test", "172.20.0.2", "fd00:5::2")
        world.dns.script("flower.own.test", "192.168.77.7")
        with world.fetcher(environment, own_services=named) as fetcher:
            for number, (address, port) in enumerate(own):
                spelled = spellings(address, port=port)
                _try(world, fetcher, spelled, WIDE_OPEN, hint="no setting opens it")
                exactly = replace(CLOSED, allow_nets=(str(ip_address(address)),))
                _try(world, fetcher, spelled[:1], exactly, hint="no setting opens it")
                alias = f"own{number}.alias.test"
                world.dns.script(alias, address)
                asked = [*name_spellings(alias, port=port), *world.redirects_to([spelled[0].url])]
                for url, outcome in _pairs(fetcher, asked, WIDE_OPEN):
                    world.refused(outcome, url, error=ErrorClass.REFUSED_ADDRESS, hints="no setting opens it")
            for url, outcome in _pairs(fetcher, [f"{SITE}/", f"http://[{PUBLIC_6}]:{PORT}/"], WIDE_OPEN):
                world.stored(outcome, url)
    return world.found


def aimed_at_the_egress_proxy() -> Found:
    """Every network is open, and the list asks for the proxy itself: by address, name and redirect."""
    with World() as world, world.fetcher() as fetcher:
        spelled = spellings(EGRESS, port=PROXY_PORT)
        _try(world, fetcher, spelled, WIDE_OPEN, hint="no setting opens it")
        world.dns.script("proxy.alias.test", EGRESS)
        world.dns.script("late.alias.test", Reply(PUBLIC), Reply(EGRESS))
        world.stored(fetcher.fetch([f"http://late.alias.test:{PORT}/"])[0], "late")
        world.grow_old()
        asked = [
            *name_spellings("proxy.alias.test", port=PROXY_PORT),
            *name_spellings("late.alias.test", port=PROXY_PORT),
        ]
        for url, outcome in _pairs(fetcher, [*asked, *world.redirects_to([spelled[0].url, asked[0]])], WIDE_OPEN):
            world.refused(outcome, url, error=ErrorClass.REFUSED_ADDRESS, hints="no setting opens it")
    return world.found


def denied_by_the_worker() -> Found:
    """What the worker's operator denies stays closed though the job opens everything."""
    with World() as world, world.fetcher(deny_nets=EVERYTHING) as fetcher:
        for address in (*DENIED_ADDRESSES, *PUBLIC_ADDRESSES):
            for spelling, outcome in _spelled(fetcher, spellings(address, port=PORT), WIDE_OPEN):
                is_never = spelling.reaches is None or tier_of(spelling.reaches) is Tier.NEVER
                world.refused(outcome, spelling, hints="" if is_never else "operator")
    return world.found


# ------------------------------------------------------------------------------------------------ one way out


def every_socket_is_asked_for() -> Found:
    """Python code connects nowhere, and each connection of libcurl has a socket that our callback gave it."""
    lent: list[str] = []
    connected: list[object] = []

    def is_for_names(wire: Any, place: Any) -> bool:
        return bool(wire.type == socket.SOCK_DGRAM and place[1] == 53)

    def note(event: str, args: tuple[object, ...]) -> None:  # PEP 578; C code such as libcurl's raises no events
        if event == "socket.__new__" and type(args[0]).__name__ == "_LentSocket":
            lent.append(event)
        elif event == "socket.connect" and is_for_names(*args):
            return
        elif event in ("socket.connect", "urllib.Request", "http.client.connect", "subprocess.Popen", "os.system"):
            connected.append((event, args))

    with World() as world, world.fetcher() as fetcher:
        sys.addaudithook(note)
        for number in range(40):
            world.dns.script(f"way{number}.closing.test", PUBLIC)
        world.dns.script("way.test", PUBLIC_6)
        urls = [f"http://way{number}.closing.test:{PORT}/" for number in range(40)]
        urls += [f"http://way.test:{PORT}/{number}" for number in range(200)]
        urls += world.redirects_to(f"http://way{number}.closing.test:{PORT}/" for number in range(40))
        for url, outcome in _pairs(fetcher, urls):
            world.stored(outcome, url)
        _try(world, fetcher, spellings("127.0.0.1", port=PORT))
        world.found.expect(len(lent) == world.site.connections, f"{len(lent)} sockets, {world.site.connections} used")
        world.found.expect(not connected, f"Python connected: {connected[:5]}")
        world.found.count_of("connections", world.site.connections)
    return world.found


# ------------------------------------------------------------------------------------------------- in common


def _try(
    world: World, fetcher: Fetcher, spelled: Iterable[Spelling], policy: JobPolicy = CLOSED, *, hint: str | None = None
) -> None:
    for spelling, outcome in _spelled(fetcher, spelled, policy):
        _expect_refusal(world, spelling, outcome, hint)


def _spelled(
    fetcher: Fetcher, spelled: Iterable[Spelling], policy: JobPolicy = CLOSED
) -> list[tuple[Spelling, Outcome]]:
    ours = distinct(spelled)
    return list(zip(ours, fetcher.fetch((each.url for each in ours), policy), strict=True))


def _pairs(fetcher: Fetcher, urls: Sequence[str], policy: JobPolicy = CLOSED) -> list[tuple[str, Outcome]]:
    return list(zip(urls, fetcher.fetch(urls, policy), strict=True))


def _expect_refusal(world: World, spelling: Spelling, outcome: Outcome, hint: str | None = None) -> None:
    if spelling.reaches is None:
        world.refused(outcome, spelling, error=ErrorClass.REFUSED_URL)
    else:
        _expect_refused_address(world, spelling, outcome, spelling.reaches, hint)


def _expect_refused_address(
    world: World, what: object, outcome: Outcome, address: str, hint: str | None = None
) -> None:
    says = "--allow-net" if tier_of(address) is Tier.PRIVATE else "no setting opens it"
    world.refused(outcome, what, error=ErrorClass.REFUSED_ADDRESS, hints=says if hint is None else hint)


def _is_same(address: str, other: str | None) -> bool:
    return other is not None and ip_address(address) == ip_address(other)
