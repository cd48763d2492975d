"""A thousand lying servers: ``python -m tests.fuzz ranges --servers 1000 --sockets 100 --seed 1``.

Whatever a server does to a body that is fetched in ranges, the file is one version whole or it is not there. In
virtual time everything but libcurl and the disk is real; over sockets, all of it.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from contract.records.outcomes import Outcome
from contract.records.policy import JobPolicy
from contract.urls.naming import output_name
from tests.support.fetching import Bench
from tests.support.lying_server import Framing, LyingServer
from tests.support.lying_sockets import url_of
from tests.support.misbehaving import MisbehavingServer
from tests.support.small_bodies import small_bodies
from tests.support.virtual_http import VirtualClock
from tests.support.virtual_liar import LyingHttp
from tests.support.virtual_world import VirtualWorld

RUNS = 3  # one URL is asked for as often, so that later runs continue what the first ones left


@dataclass(slots=True)
class Findings:
    """What came of some servers: ``wrong`` names each that had a wrong file published."""

    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def look(self, name: str, server: LyingServer, outcome: Outcome, body: bytes | None) -> None:
        self.counts["runs"] += 1
        self.counts.update(note if note.startswith("framing") else note.partition("=")[0] for note in outcome.notes)
        if not outcome.is_stored:
            self.counts["not stored"] += 1
        elif body is None or len(body) != outcome.bytes or not server.is_right(body, outcome.notes):
            self.wrong.append(f"{name}: {outcome.notes}, {outcome.bytes} bytes, after {server.lies}")

    def __str__(self) -> str:
        counted = ", ".join(f"{count} {what}" for what, count in sorted(self.counts.items()))
        return "\n".join([*self.wrong, f"{len(self.wrong)} wrong; {counted}"])


def drawn(dice: random.Random) -> JobPolicy:
    """Return a policy under which bodies are continued, fetched in ranges, kept for later runs, or all of it."""
    return JobPolicy(
        timeout=60.0,
        attempts=dice.randint(1, 4),
        first_wait=0.02,
        longest_wait=0.05,
        splits=dice.choice([1, 1, 2, 4]),
        resume=dice.random() < 0.5,
        allow_nets=("127.0.0.0/8",),
    )


def in_virtual_time(servers: int, seed: int) -> Findings:
    found = Findings()
    with small_bodies():
        for number in range(servers):
            dice = random.Random(f"{seed}/{number}")
            policy = drawn(dice)
            server = LyingServer(dice, tuple(Framing))
            clock = VirtualClock()
            world = VirtualWorld(clock=clock, http=LyingHttp(server, clock))
            url = "http://a.test/object"
            for _ in range(RUNS):
                (outcome,) = world.fetch([url], policy).outcomes
                found.look(f"server {number}", server, outcome, world.store.bodies.pop(output_name(url), None))
                assert not world.store.drafts, f"server {number} has a temporary file left behind"
            found.counts["requests"] += len(server.asked)
            found.counts["ranges"] += sum(asked is not None for asked in server.asked)
    return found


def over_sockets(servers: int, seed: int) -> Findings:
    found = Findings()
    framings = (Framing.LENGTH, Framing.CHUNKED, Framing.CLOSE)
    with (
        small_bodies(), TemporaryDirectory() as folder, MisbehavingServer() as listener, Bench(Path(folder)) as bench
    ):  # fmt: skip
        for number in range(servers):
            dice = random.Random(f"{seed}/{number}")
            policy = drawn(dice)
            server = LyingServer(dice, framings, largest=200_000)
            url = url_of(server, listener)
            file = Path(folder, output_name(url))
            for _ in range(RUNS):
                (outcome,) = bench.fetch([url], policy).outcomes
                found.look(f"server {number}", server, outcome, file.read_bytes() if file.exists() else None)
                file.unlink(missing_ok=True)
            found.counts["requests"] += len(server.asked)
            found.counts["ranges"] += sum(asked is not None for asked in server.asked)
    return found


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz ranges", description="Fetch from lying servers.")
    parser.add_argument("--servers", type=int, default=1000, help="servers in virtual time")
    parser.add_argument("--sockets", type=int, default=100, help="servers over sockets")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    given = parser.parse_args(words)
    print(f"seed {given.seed}")
    ways: dict[Callable[[int, int], Findings], int] = {in_virtual_time: given.servers, over_sockets: given.sockets}
    all_found = [way(servers, given.seed) for way, servers in ways.items()]
    print(*all_found, sep="\n")
    return 1 if any(found.wrong for found in all_found) else 0
