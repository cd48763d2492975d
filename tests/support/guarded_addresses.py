"""The ways a list could make a worker contact a refused address by spelling it: each is a scenario for a netbox."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from ipaddress import ip_address
from itertools import zip_longest
from typing import Any

from contract.records.outcomes import Ending, ErrorClass
from contract.records.policy import JobPolicy
from tests.support.guarded_world import (
    CLOSED,
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
    variables_set,
)
from tests.support.spellings import (
    DENIED_ADDRESSES,
    PRIVATE_ADDRESSES,
    PUBLIC_ADDRESSES,
    Spelling,
    distinct,
    locations,
    spellings,
)
from worker.engine.safety import AddressPolicy


def asked_directly() -> Found:
    """Every spelling of every closed address, on three ports and by both schemes."""
    with World() as world, world.fetcher() as fetcher:
        for address in DENIED_ADDRESSES:
            world.refuses(fetcher, spellings(address, port=PORT))
            world.refuses(fetcher, spellings(address))
            world.refuses(fetcher, spellings(address, scheme="https"))
    return world.found


def asked_by_http_3() -> Found:
    """The same over QUIC: its datagrams leave by another kind of socket."""
    with World() as world, world.fetcher() as fetcher:
        for address in DENIED_ADDRESSES:
            world.refuses(fetcher, spellings(address, port=PORT, scheme="https"), replace(CLOSED, http3=True))
    return world.found


def asked_in_a_crowd() -> Found:
    """All at once, with so many transfers that the lanes wait by epoll, and good URLs between the hostile ones."""
    with World() as world, world.fetcher(transfers=600, lanes=2) as fetcher:
        spelled = [each for address in DENIED_ADDRESSES for each in distinct(spellings(address, port=PORT))]
        good = [f"{SITE}/{number}" for number in range(400)]
        led = [each.url for address in DENIED_ADDRESSES for each in _led_to(address)][:400]
        asked = world.redirects_to(led)
        urls = [each.url for each in spelled]
        found = dict(fetcher.pairs([url for three in zip_longest(urls, good, asked) for url in three if url]))
        for spelling in spelled:
            world.refused_spelling(spelling, found[spelling.url])
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
        world.refused_spelling(spelling, outcome)
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
    fetched = fetcher.spelled(spelled, closing)
    for spelling, outcome in fetched:
        same = spelling.reaches is not None and _is_same(spelling.reaches, fetched[0][0].reaches)
        world.refused(outcome, spelling, hints=hint if same else "")
    world.found.expect(len(world.site.asked) == before, f"asked over a pooled connection: {url}")
    world.found.expect(world.site.connections == connections, f"connected anew: {url}")
    fetcher.fetch([url], opening)
    world.found.expect(world.site.connections == connections, f"there was no pooled connection to find: {url}")
    world.found.count_of("addresses")


def _is_same(address: str, other: str | None) -> bool:
    return other is not None and ip_address(address) == ip_address(other)


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
                    world.refuses(fetcher, spellings("127.0.0.1", port=PORT))
                    _try_through_proxy(world, fetcher)
        with variables_set(dict.fromkeys(names, proxy)):
            for address in DENIED_ADDRESSES:
                world.refuses(fetcher, spellings(address, port=PORT))
                world.refuses(fetcher, spellings(address, scheme="https"))
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
            for url, outcome in fetcher.pairs(opened, WIDE_OPEN):
                world.refused(outcome, url, error=ErrorClass.REFUSED_ADDRESS, hints="--allow-net")
        world.found.expect(len(world.site.asked) == before, "asked over a pooled connection")
        world.found.expect(world.site.connections == connections, "connected anew")
    return world.found


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
        for url, outcome in fetcher.pairs(urls):
            world.stored(outcome, url)
        world.refuses(fetcher, spellings("127.0.0.1", port=PORT))
        world.found.expect(len(lent) == world.site.connections, f"{len(lent)} sockets, {world.site.connections} used")
        world.found.expect(not connected, f"Python connected: {connected[:5]}")
        world.found.count_of("connections", world.site.connections)
    return world.found
