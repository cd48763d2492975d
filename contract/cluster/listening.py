"""Where numbers are shown: an address of this machine and a port, loopback unless another is written out."""

from __future__ import annotations

from ipaddress import ip_address

from contract.errors import SettingError


def listening_place(written: str, *, setting: str) -> tuple[str, int]:
    """Read ``9108``, ``127.0.0.1:9108``, ``0.0.0.0:9108`` or ``[::1]:9108`` as address and port.

    Raises:
        SettingError: it is no such place. Every address of the machine must be asked for in full, by 0.0.0.0.
    """
    host, _, digits = written.rpartition(":") if ":" in written else ("127.0.0.1", "", written)
    try:
        address = ip_address("127.0.0.1" if host == "localhost" else host.removeprefix("[").removesuffix("]"))
        port = int(digits) if digits.isascii() and digits.isdigit() else 0
    except ValueError:
        port = 0
    if not 0 < port < 65536:
        raise SettingError(
            f"{setting} must be a port, or an address and a port such as 127.0.0.1:9108 or 0.0.0.0:9108."
        )
    return str(address), port
