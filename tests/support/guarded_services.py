"""Lists aimed at our own services and at what an operator denies, which no job may open: scenarios for a netbox."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from contract.records.outcomes import ErrorClass
from tests.support.dns_stub import Reply
from tests.support.guarded_world import (
    CLOSED,
    EGRESS,
    EVERYTHING,
    PORT,
    PROXY_PORT,
    PUBLIC,
    PUBLIC_6,
    SITE,
    WIDE_OPEN,
    Found,
    World,
)
from tests.support.spellings import DENIED_ADDRESSES, PUBLIC_ADDRESSES, name_spellings, spellings
from worker.engine.safety import Tier, tier_of


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
                world.refuses(fetcher, spelled, WIDE_OPEN, hint="no setting opens it")
                exactly = replace(CLOSED, allow_nets=(str(ip_address(address)),))
                world.refuses(fetcher, spelled[:1], exactly, hint="no setting opens it")
                alias = f"own{number}.alias.test"
                world.dns.script(alias, address)
                asked = [*name_spellings(alias, port=port), *world.redirects_to([spelled[0].url])]
                for url, outcome in fetcher.pairs(asked, WIDE_OPEN):
                    world.refused(outcome, url, error=ErrorClass.REFUSED_ADDRESS, hints="no setting opens it")
            for url, outcome in fetcher.pairs([f"{SITE}/", f"http://[{PUBLIC_6}]:{PORT}/"], WIDE_OPEN):
                world.stored(outcome, url)
    return world.found


def aimed_at_the_egress_proxy() -> Found:
    """Every network is open, and the list asks for the proxy itself: by address, name and redirect."""
    with World() as world, world.fetcher() as fetcher:
        spelled = spellings(EGRESS, port=PROXY_PORT)
        world.refuses(fetcher, spelled, WIDE_OPEN, hint="no setting opens it")
        world.dns.script("proxy.alias.test", EGRESS)
        world.dns.script("late.alias.test", Reply(PUBLIC), Reply(EGRESS))
        world.stored(fetcher.fetch([f"http://late.alias.test:{PORT}/"])[0], "late")
        world.grow_old()
        asked = [
            *name_spellings("proxy.alias.test", port=PROXY_PORT),
            *name_spellings("late.alias.test", port=PROXY_PORT),
        ]
        for url, outcome in fetcher.pairs([*asked, *world.redirects_to([spelled[0].url, asked[0]])], WIDE_OPEN):
            world.refused(outcome, url, error=ErrorClass.REFUSED_ADDRESS, hints="no setting opens it")
    return world.found


def denied_by_the_worker() -> Found:
    """What the worker's operator denies stays closed though the job opens everything."""
    with World() as world, world.fetcher(deny_nets=EVERYTHING) as fetcher:
        for address in (*DENIED_ADDRESSES, *PUBLIC_ADDRESSES):
            for spelling, outcome in fetcher.spelled(spellings(address, port=PORT), WIDE_OPEN):
                is_never = spelling.reaches is None or tier_of(spelling.reaches) is Tier.NEVER
                world.refused(outcome, spelling, hints="" if is_never else "operator")
    return world.found
