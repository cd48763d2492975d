"""Every way a list could reach a refused address, the least number of tries of each, and a table of what was found.

``python -m tests.support.guarded_probes`` tries them all, each in a network namespace of its own, and counts.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial

from tests.support import guarded_addresses, guarded_command, guarded_dns, guarded_services, netbox
from tests.support.guarded_world import ADDRESSES, NAMESERVER, Found, Proxying, through_a_proxy
from tests.support.spellings import DENIED_ADDRESSES, spellings

Way = Callable[[], Found]

#: What is tried, and how many probes that is at least: SECURITY.md says how many they are together.
WAYS: dict[Way, int] = {
    guarded_addresses.asked_directly: 12_000,
    guarded_addresses.asked_by_http_3: 4_000,
    guarded_addresses.asked_in_a_crowd: 4_800,
    guarded_addresses.reached_by_redirect: 5_000,
    guarded_addresses.met_in_the_pool: 3_600,
    guarded_addresses.closed_behind_an_open_connection: 90,
    guarded_addresses.reached_through_a_proxy: 10_000,
    guarded_dns.named_by_dns: 2_400,
    guarded_dns.rebound_by_dns: 5_000,
    guarded_dns.rebound_within_a_transfer: 170,
    guarded_dns.mixed_by_dns: 2_500,
    guarded_dns.known_to_the_machine: 12,
    guarded_services.aimed_at_our_own_services: 1_200,
    guarded_services.denied_by_the_worker: 6_000,
}

#: The same through an egress proxy that was set: what is refused does not even reach the proxy.
THROUGH_A_PROXY: dict[tuple[Proxying, Way], int] = {
    **{("connect", way): least for way, least in WAYS.items() if way is not guarded_dns.known_to_the_machine},
    ("connect", guarded_services.aimed_at_the_egress_proxy): 90,
    **{("socks5", way): WAYS[way] for way in (
        guarded_addresses.asked_directly, guarded_addresses.reached_by_redirect, guarded_addresses.met_in_the_pool,
        guarded_addresses.reached_through_a_proxy, guarded_dns.rebound_by_dns, guarded_dns.rebound_within_a_transfer,
        guarded_dns.mixed_by_dns,
    )},
    ("socks5", guarded_services.aimed_at_the_egress_proxy): 90,
}  # fmt: skip

#: Lines of the list that ``trawl run`` is given, at least.
COMMAND = 4_000


def main() -> int:
    """Try all, print one line for each, and say how many were tried together."""
    if reason := netbox.why_not():
        print(f"Nothing was tried: {reason}.")
        return 1
    scenarios: dict[str, Way] = {f"direct    {way.__name__}": way for way in WAYS}
    for kind, way in THROUGH_A_PROXY:
        scenarios[f"{kind:9} {way.__name__}"] = partial(through_a_proxy, kind, way)
    scenarios["command   trawl run"] = guarded_command.what_a_hostile_list_found
    probes = reached = faults = 0
    for name, scenario in scenarios.items():
        began = time.monotonic()
        found = netbox.call(scenario, addresses=ADDRESSES, every_address=True, nameserver=NAMESERVER, timeout=300.0)
        probes += found.probes
        reached += found.connections
        faults += len(found.faults)
        seen = f"{found.connections} connections, {found.bytes} bytes, {len(found.faults)} faults"
        print(f"{name:50} {found.probes:7,} probes   {seen}   {time.monotonic() - began:5.1f} s", flush=True)
    counts = sorted({len(spellings(address)) for address in DENIED_ADDRESSES})
    print(f"{len(DENIED_ADDRESSES)} closed addresses, {' or '.join(map(str, counts))} spellings of each")
    print(f"{probes:,} probes in {len(scenarios)} ways: {reached} connections at the sink, {faults} faults")
    return 1 if reached or faults else 0


if __name__ == "__main__":
    sys.exit(main())
