"""Restricts who can reach Flower: without a login it listens on loopback only."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

import click
from celery import signals

_LOOPBACK = "127.0.0.1"
_LOGIN = re.compile(r"[^:]+:.+")


def attach() -> None:
    """Check the options of a Flower that starts in this process, from whatever source.

    Flower has read environment, file and command line before it imports the app's modules, and listens afterwards
    (flower 2.2 command.py and app.py, Flower.__init__).
    """
    signals.import_modules.connect(_judge, weak=False)  # Celery keeps only weak references by default


def _judge(**_: Any) -> None:
    context = click.get_current_context(silent=True)
    if context is None or context.info_name != "flower":
        return
    from tornado.options import options

    if not options.unix_socket:
        options.address = options.address or _LOOPBACK
        trouble = access_trouble(options.address, options.basic_auth, has_provider=bool(options.auth))
        trouble = trouble or port_trouble(options.address, options.port)
        if trouble:
            sys.stderr.write(f"{trouble}\n")
            sys.exit(2)


def access_trouble(address: str, logins: Sequence[str], *, has_provider: bool) -> str | None:
    """Return a sentence saying why Flower may not listen there; None: it may.

    ``logins`` is its option ``basic_auth``; ``has_provider``: its option ``auth``, an external login, is set.
    """
    if not all(_LOGIN.fullmatch(login) for login in logins):
        return "Flower's login is not user:password: correct FLOWER_BASIC_AUTH, or basic_auth where you set it."
    if logins or has_provider or _is_loopback(address):
        return None
    return (
        f"Flower listens on {address} only with a login: set FLOWER_BASIC_AUTH=user:password,"
        f" or omit the address to listen on {_LOOPBACK}."
    )


def port_trouble(address: str, port: int) -> str | None:
    """Return a sentence saying why Flower cannot listen there; None: it can."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Flower does
        try:
            probe.bind((address, port))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            return f"Flower cannot listen on {address} port {port} ({reason}): choose another with --port."
    return None


def _is_loopback(address: str) -> bool:
    try:
        return address == "localhost" or ip_address(address).is_loopback
    except ValueError:
        return False
