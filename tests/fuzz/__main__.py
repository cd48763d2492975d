"""Fuzz one target for some seconds of CPU time, guided by the lines each input reaches.

``python -m tests.fuzz intake --seconds 600`` starts from the corpus, changes inputs at random, keeps those that reach
something new and writes the smallest set that reaches everything back. The first input that breaks a rule, or takes a
second, ends it with exit code 1 and is kept as well: it then fails the replay until it is mended.
``python -m tests.fuzz ranges`` is another kind: it fetches from servers that lie.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback
from types import FrameType
from typing import Any

from tests.fuzz import corpus, ranges
from tests.fuzz.targets import TARGETS, Target

Edge = tuple[str, int, int]

LONGEST_INPUT = 32 * 1024  # bytes
LONGEST_KEPT = 2 * 1024  # bytes; what takes a longer one to reach has a test of its own
LONGEST_CHECK = 1.0  # seconds of CPU time for one input


class Reach:
    """Collects which line follows which in some modules."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._files = {module.__file__ for module in target.modules}
        self._edges: set[Edge] = set()

    def of(self, raw: bytes) -> frozenset[Edge]:
        """Return the edges an input reaches; raises what its check raises."""
        self._edges = set()
        self._target.forget()
        sys.settrace(self._enter)
        try:
            self._target.check(raw)
        finally:
            sys.settrace(None)
        return frozenset(self._edges)

    def _enter(self, frame: FrameType, _event: str, _arg: Any) -> Any:
        if frame.f_code.co_filename not in self._files:
            return None
        name, last = frame.f_code.co_name, 0

        def follow(frame: FrameType, event: str, _arg: Any) -> Any:
            nonlocal last
            # A return is an edge too: it tells where a function was left, and whether with nothing.
            here = -2 if event == "return" and _arg is None else -1 if event == "return" else frame.f_lineno
            self._edges.add((name, last, here))
            last = here
            return follow

        return follow


def changed(raw: bytes, others: list[bytes], words: tuple[bytes, ...], dice: random.Random) -> bytes:
    """Return an input with one to six random changes."""
    for _ in range(dice.randint(1, 6)):
        start, end = sorted((dice.randint(0, len(raw)), dice.randint(0, len(raw))))
        kind = dice.randrange(8)
        if kind == 0:
            middle = bytes([dice.randrange(256)])
        elif kind == 1:
            middle = chr(dice.choice([dice.randrange(0x80, 0x3000), dice.randrange(0xE000, 0x110000)])).encode()
        elif kind == 2:
            middle = raw[start:end] * dice.choice([0, 2, 3, 100])
        elif kind == 3:
            other = dice.choice(others)
            middle = other[dice.randint(0, len(other)) :]
        elif words:
            middle = dice.choice(words)
            end = start if kind < 7 else end
        else:
            middle = b""
        raw = (raw[:start] + middle + raw[end:])[:LONGEST_INPUT]
    return raw


def smallest(reached: dict[bytes, frozenset[Edge]]) -> list[bytes]:
    """Return few and short inputs that together reach what all reach."""
    kept: list[bytes] = []
    covered: set[Edge] = set()
    for raw in sorted(reached, key=lambda raw: (len(raw), raw)):
        if len(raw) <= LONGEST_KEPT and not reached[raw] <= covered:
            kept.append(raw)
            covered |= reached[raw]
    return kept


def fuzz(name: str, seconds: float, seed: int) -> int:
    target, dice = TARGETS[name], random.Random(seed)
    reach = Reach(target)
    reached: dict[bytes, frozenset[Edge]] = {}
    covered: set[Edge] = set()
    tried = 0
    waiting = [*target.seeds, *corpus.load(name)]
    began = time.process_time()
    while (now := time.process_time()) < began + seconds or waiting:
        raw = waiting.pop() if waiting else changed(dice.choice(list(reached)), list(reached), target.words, dice)
        tried += 1
        try:
            edges = reach.of(raw)
            if time.process_time() - now > LONGEST_CHECK:
                raise TimeoutError("one input took too long")
        except Exception as error:
            corpus.save(name, [*corpus.load(name), raw])
            print(f"{name}: broken by {raw[:500]!r} ({len(raw)} bytes) after {tried} inputs:")
            traceback.print_exception(error)
            return 1
        if not edges <= covered:
            covered |= edges
            reached[raw] = edges
    kept = smallest(reached)
    corpus.save(name, kept)
    print(f"{name}: {tried} inputs in {seconds:.0f} CPU seconds, {len(covered)} edges, {len(kept)} inputs kept")
    return 0


def main() -> int:
    if sys.argv[1:2] == ["ranges"]:
        return ranges.main(sys.argv[2:])
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz one target, or all.")
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("--seconds", type=float, default=60.0, help="CPU seconds for each target")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    given = parser.parse_args()
    print(f"seed {given.seed}")
    names = list(TARGETS) if given.target == "all" else [given.target]
    return max(fuzz(name, given.seconds, given.seed) for name in names)


if __name__ == "__main__":
    sys.exit(main())
