"""The address and port at which metrics are served; loopback unless another address is given."""

from __future__ import annotations

from ipaddress import ip_address

from contract.errors import SettingError


def listening_place(written: str, *, setting: str) -> tuple[str, int]:
    """Parse ``9108``, ``127.0.0.1:9108``, ``0.0.0.0:9108`` or ``[::1]:9108`` into address and port.

    Raises:
        SettingError: the text has another form. To listen on all addresses, 0.0.0.0 must be given.
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
