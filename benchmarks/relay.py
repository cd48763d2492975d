"""A link with latency: a TUN device whose packets come back late, with their addresses swapped.

The device is 198.18.50.1 (RFC 2544's range for benchmarks). A client that connects to 198.18.50.2 sends into it;
this program holds each packet for half the round trip, swaps source and destination, and writes it back: so the packet
reaches whatever listens on 198.18.50.1, and the answer returns the same way. Swapping two addresses leaves every
checksum as it was, handshakes pay like everything else, and no byte of TCP is touched, so the relay adds latency and
nothing else. Many kernels lack sch_netem; TUN is nearly everywhere (it needs CAP_NET_ADMIN, or `unshare -rn`).
"""

from __future__ import annotations

import argparse
import fcntl
import os
import select
import struct
import subprocess
import sys
import time
from collections import deque

NEAR = "198.18.50.1"  # the device's own address: the server listens here
FAR = "198.18.50.2"  # what clients connect to
NETWORK = "198.18.50.0/24"
DEVICE = "benchlink"
MTU = 9000  # a 4 KB response fits one packet, so that the relay is not the limit (measured: see README)

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000


def open_link(bits: int = 24) -> int:
    """Create the device, give it its address and return its descriptor; it vanishes when that is closed.

    What is behind it are the addresses that begin with the same ``bits``.
    """
    link = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(link, _TUNSETIFF, struct.pack("16sH", DEVICE.encode(), _IFF_TUN | _IFF_NO_PI))
    for told in (
        ["ip", "link", "set", "lo", "up"],  # a network namespace made for us starts with it down
        ["ip", "address", "add", f"{NEAR}/{bits}", "dev", DEVICE],
        ["ip", "link", "set", DEVICE, "up", "mtu", str(MTU), "txqueuelen", "20000"],
    ):
        subprocess.run(told, check=True)
    return link


def swapped(packet: bytes) -> bytes:
    """Return an IPv4 packet with source and destination exchanged; its checksums stay valid."""
    return packet[:12] + packet[16:20] + packet[12:16] + packet[20:]


def relay(link: int, one_way: float) -> None:
    """Hold every packet for ``one_way`` seconds, for ever."""
    waiting: deque[tuple[float, bytes]] = deque()
    read, write, clock = os.read, os.write, time.monotonic
    while True:
        pause = max(0.0, waiting[0][0] - clock()) if waiting else None
        # select, not epoll: its timeout has microseconds, epoll's milliseconds would show in 25 of them
        ready, _, _ = select.select([link], [], [], pause)
        if ready:
            due = clock() + one_way
            try:
                while True:
                    packet = read(link, MTU + 100)
                    if packet[0] >> 4 == 4:  # IPv4; the kernel also announces itself by IPv6
                        waiting.append((due, swapped(packet)))
            except BlockingIOError:
                pass
        now = clock()
        while waiting and waiting[0][0] <= now:
            write(link, waiting.popleft()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--round-trip", type=float, default=0.05, help="seconds")
    link = open_link()
    told = parser.parse_args()
    print("ready", flush=True)
    try:
        relay(link, told.round_trip / 2)
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
