"""No address is open unless it is public or was opened, in whatever spelling it comes.

Which line a test protects is proved by ``python -m tests.mutants``: with that line changed, the test fails.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import SettingError
from contract.urls.lines import Parsed, parse
from contract.urls.networks import parse_networks
from tests.support.spellings import DENIED_ADDRESSES, NEVER_ADDRESSES, PRIVATE_ADDRESSES, PUBLIC_ADDRESSES, spellings
from worker.engine.safety import AddressPolicy, Tier, tier_of

EVERYTHING = (ip_network("0.0.0.0/0"), ip_network("::/0"))
CLOSED = AddressPolicy()
WIDE_OPEN = AddressPolicy(allow=EVERYTHING)


# ---------------------------------------------------------------------------------------------------- the tables


@pytest.mark.parametrize("address", PRIVATE_ADDRESSES)
def test_a_private_address_is_closed_until_it_is_opened(address: str) -> None:
    """Protects each row of ``_PRIVATE``, and ``closed unless allowed``."""
    refused, opened = CLOSED.verdict(address, 80), WIDE_OPEN.verdict(address, 80)

    assert tier_of(address) is Tier.PRIVATE
    assert not refused.allowed
    assert refused.setting == "TRAWL_ALLOW_NETS"
    assert "--allow-net" in refused.reason
    assert opened.allowed


@pytest.mark.parametrize("address", NEVER_ADDRESSES)
def test_an_address_of_the_never_tier_is_closed_whatever_is_allowed(address: str) -> None:
    """Protects each row of ``_NEVER``, the bound of public IPv6, and that this tier is judged before ``allow``."""
    exactly_it = AddressPolicy(allow=(ip_network(address),))

    for policy in (CLOSED, WIDE_OPEN, exactly_it):
        verdict = policy.verdict(address, 80)
        assert not verdict.allowed
        assert verdict.setting is None
        assert "no setting opens it" in verdict.reason


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
def test_a_public_address_next_to_a_closed_network_is_open(address: str) -> None:
    assert CLOSED.verdict(address, 80).allowed


def test_the_refusal_names_the_network_that_would_open_it() -> None:
    reason = CLOSED.verdict("10.1.2.3", 80).reason

    assert reason == "10.1.2.3 is private; --allow-net 10.0.0.0/8 (TRAWL_ALLOW_NETS) opens it."


def test_only_the_network_that_was_opened_is_open() -> None:
    policy = AddressPolicy(allow=parse_networks("10.1.0.0/16, fd00:1::/32", setting="TRAWL_ALLOW_NETS"))

    allowed = [a for a in ("10.1.0.0", "10.1.255.255", "fd00:1::5") if policy.verdict(a, 80).allowed]
    refused = [a for a in ("10.0.255.255", "10.2.0.0", "127.0.0.1", "fd00:2::5") if policy.verdict(a, 80).allowed]

    assert allowed == ["10.1.0.0", "10.1.255.255", "fd00:1::5"]
    assert refused == []


# ------------------------------------------------------------------------------------------------- the spellings


@pytest.mark.parametrize("address", DENIED_ADDRESSES)
def test_no_spelling_of_a_closed_address_gets_through(address: str) -> None:
    """More than 80 addresses in 32 or 58 spellings each: refused as a URL, or by the address its host stands for."""
    for spelling in spellings(address, port=8080):
        parsed = parse(spelling.url)

        if spelling.reaches is None:
            assert not isinstance(parsed, Parsed), spelling
            continue
        assert isinstance(parsed, Parsed), spelling
        assert same_address(parsed.host, spelling.reaches), spelling
        assert not CLOSED.verdict(parsed.host, parsed.port).allowed, spelling


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
def test_no_spelling_of_a_public_address_is_taken_for_another(address: str) -> None:
    for spelling in spellings(address):
        parsed = parse(spelling.url)

        assert isinstance(parsed, Parsed) == (spelling.reaches is not None), spelling
        if isinstance(parsed, Parsed) and spelling.reaches:
            assert same_address(parsed.host, spelling.reaches), spelling
            assert CLOSED.verdict(parsed.host, parsed.port).allowed == (tier_of(spelling.reaches) is Tier.PUBLIC)


def same_address(host: str, other: str) -> bool:
    ip = ip_address(host)
    return ip == ip_address(other) or (isinstance(ip, IPv6Address) and ip.ipv4_mapped == ip_address(other))


# ------------------------------------------------------------------------------------------- forms of an address


@pytest.mark.parametrize("form", ["::ffff:{}", "64:ff9b::{}"])
def test_an_address_that_embeds_an_ipv4_address_is_judged_as_it(form: str) -> None:
    """Protects both lines of ``_embedded``: without them a mapped private address could not be opened, and a NAT64
    address of a public server could not be reached."""
    policy = AddressPolicy(allow=parse_networks("10.0.0.0/8", setting="TRAWL_ALLOW_NETS"))

    assert policy.verdict(form.format("10.0.0.1"), 80).allowed
    assert policy.verdict(form.format("8.8.8.8"), 80).allowed
    assert not policy.verdict(form.format("192.168.0.1"), 80).allowed
    assert not WIDE_OPEN.verdict(form.format("169.254.169.254"), 80).allowed


def test_allowing_ipv6_opens_no_ipv4_address_inside_it() -> None:
    policy = AddressPolicy(allow=parse_networks("::/0", setting="TRAWL_ALLOW_NETS"))

    assert not policy.verdict("::ffff:10.0.0.1", 80).allowed
    assert not policy.verdict("64:ff9b::10.0.0.1", 80).allowed


@pytest.mark.parametrize("address", DENIED_ADDRESSES + PUBLIC_ADDRESSES)
def test_every_form_of_an_address_gets_the_same_verdict(address: str) -> None:
    ip = ip_address(address)
    forms = [address, ip, ip.packed, ip.exploded]
    if isinstance(ip, IPv6Address):
        forms += [f"{address}%eth0", f"{address}%1", address.upper()]

    assert {CLOSED.verdict(form, 80) for form in forms} == {CLOSED.verdict(address, 80)}


@pytest.mark.parametrize(
    "junk",
    [
        "", " ", "localhost", "127.1", "0x7f.0.0.1", "010.0.0.1", "2130706433", "8.8.8.8 ", "8.8.8.8\0", "8.8.8.8:80",
        "%", "%eth0",
    ]
    + ["[::1]", "/var/run/a.sock", b"", b"abc", b"8.8.8.8", b"\0" * 15, "\N{FULLWIDTH DIGIT EIGHT}.8.8.8"],
    ids=repr,
)  # fmt: skip
def test_an_invalid_socket_address_is_closed(junk: str | bytes) -> None:
    assert not WIDE_OPEN.verdict(junk, 80).allowed
    assert tier_of(junk) is Tier.NEVER


# -------------------------------------------------------------------------------------------- who may close what


def test_a_denied_network_is_closed_though_it_is_public_or_allowed() -> None:
    policy = AddressPolicy(allow=EVERYTHING, deny=parse_networks("8.8.8.0/24,10.9.0.0/16", setting="TRAWL_DENY_NETS"))

    for address in ("8.8.8.8", "10.9.9.9", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"):
        verdict = policy.verdict(address, 443)
        assert (verdict.allowed, verdict.setting) == (False, "TRAWL_DENY_NETS")
    assert policy.verdict("8.8.4.4", 443).allowed
    assert policy.verdict("10.8.0.1", 443).allowed


def test_a_worker_operator_closes_what_a_job_opens() -> None:
    mine = parse_networks("10.0.0.0/8", setting="TRAWL_WORKER_DENY_NETS")
    policy = AddressPolicy(allow=EVERYTHING, worker_deny=mine)

    verdict = policy.verdict("10.0.0.1", 80)

    assert (verdict.allowed, verdict.setting) == (False, "TRAWL_WORKER_DENY_NETS")
    assert policy.verdict("192.168.0.1", 80).allowed


def test_a_denied_prefix_closes_the_addresses_it_embeds() -> None:
    """Protects checking both forms of an address: without NAT64, its prefix may be denied."""
    prefix = parse_networks("64:ff9b::/96", setting="TRAWL_DENY_NETS")

    for policy in (AddressPolicy(worker_deny=prefix), AddressPolicy(deny=prefix)):
        assert not policy.verdict("64:ff9b::8.8.8.8", 80).allowed
        assert policy.verdict("8.8.8.8", 80).allowed


# ---------------------------------------------------------------------------------------------- our own services


def test_our_own_services_are_closed_though_their_network_is_open() -> None:
    policy = AddressPolicy(allow=EVERYTHING, own=frozenset({("10.0.0.5", 6380), ("fd00::5", 5555)}))

    for address, port in (
        ("10.0.0.5", 6380),
        ("::ffff:10.0.0.5", 6380),
        ("64:ff9b::10.0.0.5", 6380),
        ("fd00::5", 5555),
    ):
        verdict = policy.verdict(address, port)
        assert (verdict.allowed, verdict.setting) == (False, None)
        assert "Trawlnet itself" in verdict.reason
    assert policy.verdict("10.0.0.5", 80).allowed
    assert policy.verdict("10.0.0.6", 6380).allowed


def test_an_own_service_in_another_form_is_the_same_service() -> None:
    mapped = AddressPolicy(allow=EVERYTHING, own=frozenset({("::ffff:10.0.0.5", 6380), ("FD00:0::5%eth0", 5555)}))

    assert not mapped.verdict("10.0.0.5", 6380).allowed
    assert not mapped.verdict("fd00::5", 5555).allowed


@pytest.mark.parametrize("bound", ["127.0.0.1", "127.0.0.9", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("asked", ["127.0.0.1", "127.255.0.3", "::1", "::ffff:127.0.0.2", "64:ff9b::127.0.0.1"])
def test_an_own_service_on_loopback_is_closed_under_every_loopback_address(bound: str, asked: str) -> None:
    """Protects ``_key``: a server bound to every address answers under each of them."""
    policy = AddressPolicy(allow=EVERYTHING, own=frozenset({(bound, 9808)}))

    assert not policy.verdict(asked, 9808).allowed
    assert policy.verdict(asked, 9809).allowed


@pytest.mark.parametrize("bound", ["0.0.0.0", "::", "::ffff:0.0.0.0"])
def test_an_own_service_on_every_address_closes_its_port_everywhere(bound: str) -> None:
    policy = AddressPolicy(allow=EVERYTHING, own=frozenset({(bound, 9808)}))

    for address in ("127.0.0.1", "10.0.0.5", "192.168.7.7", "8.8.8.8", "2606:4700:4700::1111"):
        assert not policy.verdict(address, 9808).allowed
        assert policy.verdict(address, 9809).allowed


def test_an_own_service_must_be_given_by_its_address() -> None:
    with pytest.raises(ValueError, match="redis"):
        AddressPolicy(own=frozenset({("redis", 6379)}))


# ---------------------------------------------------------------------------------------------------- properties

ADDRESSES = st.one_of(
    st.integers(0, 2**32 - 1).map(IPv4Address),
    st.integers(0, 2**128 - 1).map(IPv6Address),
    st.integers(0, 2**32 - 1).map(lambda value: IPv6Address((0xFFFF << 32) + value)),
    st.integers(0, 2**32 - 1).map(lambda value: IPv6Address((0x64FF9B << 96) + value)),
    st.integers(0, 2**125 - 1).map(lambda value: IPv6Address((1 << 125) + value)),
)


@given(ADDRESSES)
def test_the_tiers_decide_and_nothing_else(address: IPv4Address | IPv6Address) -> None:
    tier = tier_of(address)

    assert CLOSED.verdict(address, 80).allowed == (tier is Tier.PUBLIC)
    assert WIDE_OPEN.verdict(address, 80).allowed == (tier is not Tier.NEVER)
    assert not AddressPolicy(allow=EVERYTHING, deny=EVERYTHING).verdict(address, 80).allowed
    assert not AddressPolicy(allow=EVERYTHING, worker_deny=EVERYTHING).verdict(address, 80).allowed
    assert not AddressPolicy(own=frozenset({(str(address), 80)})).verdict(address, 80).allowed


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_the_ipv4_table_matches_the_documented_facts(address: IPv4Address) -> None:
    """The list once more in another form, so that a row cannot be lost unnoticed."""
    closed = """0/8 10/8 100.64/10 127/8 169.254/16 172.16/12 192.0.0/24 192.0.2/24 192.88.99/24 192.168/16 198.18/15
        198.51.100/24 203.0.113/24 224/4 240/4 168.63.129.16/32"""
    prefixes = [(short.partition("/")[0].split("."), int(short.partition("/")[2])) for short in closed.split()]

    def covers(parts: list[str], length: int) -> bool:
        start = sum(int(part) << 24 - 8 * place for place, part in enumerate(parts))
        return int(address) >> 32 - length == start >> 32 - length

    assert (tier_of(address) is not Tier.PUBLIC) == any(covers(*prefix) for prefix in prefixes)


# ------------------------------------------------------------------------------------------ networks in settings


def test_networks_may_be_written_in_several_ways() -> None:
    written = " 10.0.0.0/8,192.168.1.1 fd00::/8;\n::1, ::ffff:172.16.0.0/108,"

    read = parse_networks(written, setting="TRAWL_ALLOW_NETS")

    assert [str(network) for network in read] == [
        "10.0.0.0/8", "192.168.1.1/32", "fd00::/8", "::1/128", "172.16.0.0/12",
    ]  # fmt: skip
    assert parse_networks([written, "8.8.8.8"], setting="x") == (*read, ip_network("8.8.8.8/32"))
    assert parse_networks("", setting="x") == ()


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("10.0.0.1/8", "write 10.0.0.0/8"),
        ("fd00::1/8", "write fd00::/8"),
        ("10.0.0.0/33", "not a network"),
        ("10.0.0", "not a network"),
        ("localhost", "not a network"),
        ("10.0.0.0/8/8", "not a network"),
        ("010.0.0.0/8", "not a network"),
        ("fe80::%eth0/64", "without it"),
        ("*", "not a network"),
        ("10.0.0.0/-1", "not a network"),
    ],
)
def test_an_invalid_network_is_named_with_its_setting(written: str, says: str) -> None:
    with pytest.raises(SettingError, match="TRAWL_ALLOW_NETS") as raised:
        parse_networks(f"127.0.0.0/8 {written}", setting="TRAWL_ALLOW_NETS")

    assert repr(written) in str(raised.value)
    assert says in str(raised.value)


@given(st.text(max_size=40))
def test_a_setting_is_read_or_refused_in_one_sentence(written: str) -> None:
    try:
        read = parse_networks(written, setting="TRAWL_DENY_NETS")
    except SettingError as error:
        said = str(error)
    else:
        said = "TRAWL_DENY_NETS: "
        assert parse_networks(map(str, read), setting="TRAWL_DENY_NETS") == read

    assert said.startswith("TRAWL_DENY_NETS: ")
