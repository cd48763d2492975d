"""The ways a URL can spell a name, or an address that must not be reached, and such addresses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

PRIVATE_ADDRESSES = (
    "10.0.0.0", "10.0.0.1", "10.255.255.255", "100.64.0.0", "100.64.0.1", "100.127.255.255", "127.0.0.0", "127.0.0.1",
    "127.0.0.53", "127.255.255.255", "172.16.0.0", "172.17.0.1", "172.31.255.255", "192.0.2.0", "192.0.2.255",
    "192.168.0.0", "192.168.1.1", "192.168.255.255", "198.18.0.0", "198.19.255.255", "198.51.100.0", "198.51.100.255",
    "203.0.113.0", "203.0.113.255", "::1", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "3fff::1",
    "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "fc00::", "fd00::1", "fd12:3456:789a::1",
    "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
)  # fmt: skip
NEVER_ADDRESSES = (
    "0.0.0.0",
    "0.0.0.1",
    "0.255.255.255",
    "100.100.100.200",  # Alibaba Cloud metadata
    "168.63.129.16",  # Azure
    "169.254.0.0",
    "169.254.169.254",  # metadata of most clouds
    "169.254.170.2",  # AWS container credentials
    "169.254.255.255",
    "192.0.0.0",
    "192.0.0.170",
    "192.0.0.192",  # Oracle Cloud metadata
    "192.0.0.255",
    "192.88.99.0",
    "192.88.99.1",
    "192.88.99.255",
    "224.0.0.0",
    "224.0.0.1",
    "239.255.255.250",
    "239.255.255.255",
    "240.0.0.0",
    "240.0.0.1",
    "255.255.255.254",
    "255.255.255.255",
    "::",
    "::2",
    "::7f00:1",  # IPv4-compatible
    "::ffff:0:7f00:1",  # IPv4-translated
    "64:ff9b:1::7f00:1",  # local NAT64
    "64:ff9c::7f00:1",
    "100::1",  # discard
    "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "2001::1",  # Teredo
    "2001:10::1",  # ORCHID
    "2001:20::1",
    "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
    "2002::1",
    "2002:7f00:1::1",  # 6to4 around 127.0.0.1
    "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "2600::5efe:7f00:1",  # ISATAP
    "2600::200:5efe:a00:1",
    "4000::",
    "5f00::1",  # segment routing
    "8000::1",
    "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "fd00:42::42",  # Scaleway metadata
    "fd00:ec2::23",
    "fd00:ec2::254",  # AWS metadata
    "fd20:ce::254",  # Google Cloud metadata
    "fe00::1",
    "fe80::1",
    "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "fec0::1",
    "ff02::1",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
)
#: Each is the last address before, or the first behind, a network that is closed; or simply famous.
PUBLIC_ADDRESSES = (
    "1.0.0.0", "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
    "128.0.0.0", "168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0",
    "191.255.255.255", "192.0.1.0", "192.0.1.255", "192.0.3.0", "192.88.98.255", "192.88.100.0", "192.167.255.255",
    "192.169.0.0", "198.17.255.255", "198.20.0.0", "198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0",
    "223.255.255.255", "2000::", "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:200::", "2001:4860:4860::8888",
    "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::", "2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2003::",
    "2606:4700:4700::1111", "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:1000::",
    "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
)  # fmt: skip
DENIED_ADDRESSES = PRIVATE_ADDRESSES + NEVER_ADDRESSES


@dataclass(frozen=True, slots=True)
class Spelling:
    """A URL made to reach an address.

    ``reaches`` is the address its host stands for (URL Standard), None where the URL itself has to be refused.
    """

    label: str
    url: str
    reaches: str | None


def spellings(address: str, *, port: int | None = None, scheme: str = "http") -> list[Spelling]:
    """Return more than 20 spellings of a URL to an address."""
    ip = IPv6Address(address) if ":" in address else IPv4Address(address)
    literal = f"[{ip}]" if isinstance(ip, IPv6Address) else str(ip)
    hosts = [*(_of_ipv6(ip) if isinstance(ip, IPv6Address) else _of_ipv4(ip)), *_tricks(literal, address)]
    authority_end = "" if port is None else f":{port}"
    return [Spelling(label, f"{scheme}://{host}{authority_end}/", reaches) for label, host, reaches in hosts] + [
        Spelling("upper-case scheme", f"{scheme.upper()}://{literal}{authority_end}/", address),
        Spelling("zero-padded port", f"{scheme}://{literal}:000{port or 80}/", address),
        Spelling(
            "fragment that looks like an authority", f"{scheme}://{literal}{authority_end}#@example.com/", address
        ),
        Spelling("query that looks like an authority", f"{scheme}://{literal}{authority_end}?@example.com/", address),
        Spelling("path that looks like an authority", f"{scheme}://{literal}{authority_end}/@example.com/", address),
        Spelling("three slashes", f"{scheme}:///{literal}{authority_end}/", None),
        Spelling("one slash", f"{scheme}:/{literal}{authority_end}/", None),
        Spelling("backslashes", f"{scheme}:\\\\{literal}{authority_end}/", None),
    ]


def locations(address: str, *, port: int) -> list[Spelling]:
    """Return what a server on http can say in Location to lead to an address, and what it leads to.

    Redirects are read as browsers do: there are more ways to a host than in a list. What leads elsewhere is left out.
    """
    literal = f"[{address}]" if ":" in address else address
    there = f"{literal}:{port}"
    as_a_list = [each for each in spellings(address, port=port) if each.label not in _READ_OTHERWISE]
    return as_a_list + [
        Spelling(label, location, address)
        for label, location in {
            "three slashes": f"http:///{there}/", "four slashes": f"http:////{there}/",
            "one slash": f"http:/{there}/", "one slash of another scheme": f"https:/{there}/",
            "no slash of another scheme": f"https:{there}/", "backslashes": f"http:\\\\{there}/",
            "one backslash": f"http:\\{there}/", "mixed slashes": f"http:/\\{there}/",
            "nothing but slashes": f"//{there}/", "three slashes and no scheme": f"///{there}/",
            "backslashes and no scheme": f"\\\\{there}/", "a slash and a backslash": f"/\\{there}/",
            "a backslash and a slash": f"\\/{there}/", "a tab between slashes": f"/\t/{there}/",
            "a tab in the scheme": f"ht\ttp://{there}/",
            "tab inside": f"http://{literal[:2]}\t{literal[2:]}:{port}/",
            "backslash before a path": f"http://{there}\\@example.com/",
            "user name behind": f"http://{literal}\\@example.com:{port}/",
        }.items()
    ]  # fmt: skip


def distinct(spelled: Iterable[Spelling]) -> list[Spelling]:
    """Return the spellings whose URL is written differently from the ones before."""
    return list({spelling.url: spelling for spelling in spelled}.values())


def name_spellings(name: str, *, port: int) -> list[str]:
    """Return more than 20 URLs to a name; each stands for that name and no other."""
    wide = "".join(chr(ord(char) + 0xFEE0) if char.isalnum() else char for char in name)
    first, rest = name[0], name[1:]
    hosts = [
        name,
        name.upper(),
        name.title(),
        f"{name}.",
        f"{name.upper()}.",
        wide,
        f"{wide}.",
        f"%{ord(first):02x}{rest}",
        f"%{ord(first):02X}{rest}.",
        "".join(f"%{ord(char):02x}" for char in name),
        name.replace(".", "%2E"),
        name.replace(".", "%2e"),
        name.replace(".", "\N{IDEOGRAPHIC FULL STOP}"),
        name.replace(".", "\N{FULLWIDTH FULL STOP}"),
        name.replace(".", "\N{HALFWIDTH IDEOGRAPHIC FULL STOP}"),
        f"{first}\u00ad{rest}",
        f"{first}%C2%AD{rest}",
        f"{first}\u200b{rest}",
        f"{first}\u2060{rest}",
        chr(ord(first) - 0x61 + 0x1D41A) + rest,  # mathematical bold
        chr(ord(first) - 0x61 + 0x24D0) + rest,  # circled
    ]
    return [
        *(f"http://{host}:{port}/" for host in hosts),
        f"HTTP://{name}:{port}/",
        f"http://{name}:000{port}/",
        f"http://{name}:{port}",
        f"http://{name}:{port}?@example.com/",
        f"http://{name}:{port}/@example.com/",
        f"http://{name}:{port}/#@example.com/",
        f"http://{name}:{port}/%2e%2e/%00",
    ]


#: Spellings that a Location may hold and a list may not, or that lead elsewhere there.
_READ_OTHERWISE = {
    "three slashes", "one slash", "backslashes", "tab inside", "user name behind", "backslash and user name",
}  # fmt: skip


_Host = tuple[str, str, str | None]


def _tricks(literal: str, address: str) -> Iterator[_Host]:
    yield "blank at the end", f"{literal} ", None
    yield "user name", f"example.com@{literal}", None
    yield "user name and password", f"example.com:80@{literal}", None
    yield "backslash and user name", f"example.com\\@{literal}", None
    yield "user name behind", f"{literal}\\@example.com", None
    yield "escaped at sign", f"example.com%40{literal}", None
    yield "tab inside", f"{literal[:2]}\t{literal[2:]}", None
    yield "line feed inside", f"{literal[:2]}\n{literal[2:]}", None
    yield "NUL behind", f"{literal}\0.example.com", None
    yield "escaped NUL behind", f"{literal}%00.example.com", None
    yield "zone id", f"[{address}%25eth0]", None


def _of_ipv4(ip: IPv4Address) -> Iterator[_Host]:
    a, b, c, d = ip.packed
    value, text = int(ip), str(ip)
    high, low = value >> 16, value & 0xFFFF
    ideographic_stop, fullwidth_stop, soft_hyphen = "\N{IDEOGRAPHIC FULL STOP}", "\N{FULLWIDTH FULL STOP}", "\u00ad"
    yield "dotted", text, text
    yield "one decimal number", str(value), text
    yield "one hexadecimal number", hex(value), text
    yield "one upper-case hexadecimal number", f"0X{value:08X}", text
    yield "one octal number", f"0{value:o}", text
    yield "dotted hexadecimal", f"{a:#x}.{b:#x}.{c:#x}.{d:#x}", text
    yield "dotted octal", f"0{a:o}.0{b:o}.0{c:o}.0{d:o}", text
    yield "padded octal", f"{a:05o}.{b:05o}.{c:05o}.{d:05o}", text
    yield "padded hexadecimal", f"0x{a:010x}.{b}.{c}.{d}", text
    yield "mixed", f"{a:#x}.0{b:o}.{c}.{d:#x}", text
    yield "two numbers", f"{a}.{value & 0xFFFFFF}", text
    yield "three numbers", f"{a}.{b}.{low}", text
    yield "two hexadecimal numbers", f"{a:#x}.{value & 0xFFFFFF:#x}", text
    yield "trailing dot", f"{text}.", text
    yield "number with trailing dot", f"{value}.", text
    yield "escaped", "".join(f"%{ord(char):02x}" for char in text), text
    yield "escaped dots", text.replace(".", "%2E"), text
    yield "fullwidth digits", "".join(chr(ord(char) + 0xFEE0) if char != "." else char for char in text), text
    yield "circled digits", "".join(chr(0x245F + int(char)) if char in "123456789" else char for char in text), text
    yield "ideographic full stops", text.replace(".", ideographic_stop), text
    yield "fullwidth full stops", text.replace(".", fullwidth_stop), text
    yield "soft hyphen", f"{text[:1]}{soft_hyphen}{text[1:]}", text
    yield "escaped soft hyphen", f"{text[:1]}%C2%AD{text[1:]}", text
    yield "mapped", f"[::ffff:{high:x}:{low:x}]", text
    yield "mapped, dotted", f"[::ffff:{text}]", text
    yield "mapped, in full", f"[0000:0000:0000:0000:0000:FFFF:{high:04X}:{low:04X}]", text
    yield "NAT64", f"[64:ff9b::{high:x}:{low:x}]", f"64:ff9b::{text}"
    yield "NAT64, dotted", f"[64:ff9b::{text}]", f"64:ff9b::{text}"
    yield "local NAT64", f"[64:ff9b:1::{high:x}:{low:x}]", f"64:ff9b:1::{text}"
    yield "6to4", f"[2002:{high:x}:{low:x}::1]", f"2002:{high:x}:{low:x}::1"
    yield "IPv4-compatible", f"[::{text}]", f"::{text}"
    yield "IPv4-translated", f"[::ffff:0:{text}]", f"::ffff:0:{text}"
    yield "Teredo client", f"[2001::{high ^ 0xFFFF:x}:{low ^ 0xFFFF:x}]", f"2001::{high ^ 0xFFFF:x}:{low ^ 0xFFFF:x}"
    yield "ISATAP", f"[2600::5efe:{text}]", f"2600::5efe:{text}"
    yield "escaped brackets", f"%5B::ffff:{text}%5D", None
    yield "more than 32 bits", str(value + 2**32), None
    yield "five numbers", f"{text}.0", None
    yield "a number above 255", f"{a + 256}.{b}.{c}.{d}", None
    yield "no octal number", f"{text}.08", None


def _of_ipv6(ip: IPv6Address) -> Iterator[_Host]:
    text, full = str(ip), ip.exploded
    value = int(ip)
    groups = [value >> 16 * place & 0xFFFF for place in range(7, -1, -1)]
    dotted = IPv4Address(value & 0xFFFFFFFF)
    yield "shortest", f"[{text}]", text
    yield "upper-case", f"[{text.upper()}]", text
    yield "in full", f"[{full}]", text
    yield "in full, upper-case", f"[{full.upper()}]", text
    yield "without leading zeros", f"[{':'.join(f'{group:x}' for group in groups)}]", text
    yield "dotted tail", f"[{':'.join(f'{group:x}' for group in groups[:6])}:{dotted}]", text
    yield "no brackets", text, None
    yield "escaped brackets", f"%5B{text}%5D", None
    yield "escaped colons", f"[{text.replace(':', '%3A')}]", None
    yield "bracket left open", f"[{text}", None
    yield "five digits", f"[0{full}]", None
    yield "prefix length", f"[{text}/128]", None
    yield "two addresses", f"[{text}][{text}]", None
