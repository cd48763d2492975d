"""The link of row W: a TUN device behind which each host is as far away as it is, as `benchmarks/relay.py` has it."""

from __future__ import annotations

import argparse
import heapq
import json
import os
import select
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks import relay

NETWORK, BITS = "198.18.0.0/16", 16


def carry(link: int, one_way: Mapping[bytes, float]) -> None:
    """Hold every packet for as many seconds as the host it goes to, or comes from, is away; for ever."""
    waiting: list[tuple[float, int, bytes]] = []
    count = 0
    read, write, clock, push, pop = os.read, os.write, time.monotonic, heapq.heappush, heapq.heappop
    while True:
        pause = max(0.0, waiting[0][0] - clock()) if waiting else None
        ready, _, _ = select.select([link], [], [], pause)
        if ready:
            now = clock()
            try:
                while True:
                    packet = read(link, relay.MTU + 100)
                    # Whoever sends, it is for an address behind the device: ours are the machine's own.
                    seconds = one_way.get(packet[16:20])
                    if seconds is not None:
                        count += 1
                        push(waiting, (now + seconds, count, relay.swapped(packet)))
            except BlockingIOError:
                pass
        now = clock()
        while waiting and waiting[0][0] <= now:
            write(link, pop(waiting)[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("round_trips", type=Path, help="JSON: seconds by address")
    round_trips = json.loads(parser.parse_args().round_trips.read_text("utf-8"))
    link = relay.open_link(bits=BITS)
    print("ready", flush=True)
    carry(link, {socket.inet_aton(address): seconds / 2 for address, seconds in round_trips.items()})


if __name__ == "__main__":
    main()
