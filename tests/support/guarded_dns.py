"""The ways a name could lead a worker to a refused address: each is a scenario for a netbox."""

from __future__ import annotations

from contract.records.outcomes import Ending, ErrorClass
from tests.support.dns_stub import Reply
from tests.support.guarded_world import PORT, PUBLIC, PUBLIC_6, Found, World
from tests.support.spellings import DENIED_ADDRESSES, name_spellings


def named_by_dns() -> Found:
    """A name stands for a closed address, in each spelling of the name."""
    with World() as world, world.fetcher() as fetcher:
        for number, address in enumerate(DENIED_ADDRESSES):
            name = f"n{number}.names.test"
            world.dns.script(name, address)
            for url, outcome in fetcher.pairs(name_spellings(name, port=PORT)):
                world.refused_address(f"{url} at {address}", outcome, address)
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
            for url, outcome in fetcher.pairs(name_spellings(closing, port=PORT)):
                world.refused_address(f"{url} at {address}", outcome, address)
            # The public server's connection is still open, so it may be asked once more: it is who was judged.
            for url, outcome in fetcher.pairs(name_spellings(pooled, port=PORT)):
                if outcome.ending is Ending.OK:
                    world.stored(outcome, url)
                else:
                    world.refused_address(f"{url} at {address}", outcome, address)
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
            for url, outcome in fetcher.pairs(name_spellings(name, port=PORT)):
                world.stored(outcome, f"{url} at {address}")
        world.dns.script("crowd.closing.test", *DENIED_ADDRESSES, PUBLIC)
        for url, outcome in fetcher.pairs(name_spellings("crowd.closing.test", port=PORT)):
            world.stored(outcome, url)
        world.dns.script("closed-crowd.test", *DENIED_ADDRESSES)
        for url, outcome in fetcher.pairs(name_spellings("closed-crowd.test", port=PORT)):
            world.refused(outcome, url, error=ErrorClass.REFUSED_ADDRESS)
    return world.found


def known_to_the_machine() -> Found:
    """Names that need no name server: libcurl and resolvers know them by themselves."""
    names = ("localhost", "LOCALHOST", "localhost.", "a.localhost", "localhost.localdomain", "ip6-localhost")
    with World() as world, world.fetcher() as fetcher:
        for name in names:
            for url, outcome in fetcher.pairs([f"http://{name}:{PORT}/", f"https://{name}/"]):
                world.found.probes += 1
                is_closed = outcome.error in (ErrorClass.REFUSED_ADDRESS, ErrorClass.DNS)
                world.found.expect(is_closed, f"{url}: {outcome}")
    return world.found
