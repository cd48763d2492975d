"""Validates messages before Celery sees them: most malformed ones would end the worker."""

from __future__ import annotations

import base64
import json
from typing import Any

from contract.records.messages import BATCH_TASK

#: Bytes of a task's packed arguments. Ours have about 200: the URLs of a batch travel through the ledger.
LARGEST_BODY = 64 * 1024


def fault_of(message: object) -> str | None:
    """Return what is wrong with a decoded envelope, in a few words that quote nothing of it; None: it is valid.

    Source: kombu 5.7 ``transport/virtual/base.py``, ``Message``; Celery's message protocol 2.
    """
    if not isinstance(message, dict) or not isinstance(message.get("body"), str):
        return "it is not an envelope"
    properties, headers = message.get("properties"), message.get("headers")
    if not isinstance(properties, dict) or not isinstance(headers, dict):
        return "it lacks properties or headers"
    delivery = properties.get("delivery_info")
    if not isinstance(properties.get("delivery_tag"), str) or not isinstance(delivery, dict):
        return "it lacks delivery information"
    if not all(isinstance(delivery.get(name), str) for name in ("exchange", "routing_key")):
        return "it lacks a destination"
    if "compression" in headers:
        return "it is compressed"
    return _fault_of_task(message, headers) if "task" in headers else None


def _fault_of_task(message: dict[str, Any], headers: dict[str, Any]) -> str | None:
    if not isinstance(headers["task"], str) or not isinstance(headers.get("id"), str):
        return "it lacks a task or an id"
    if headers["task"] != BATCH_TASK:
        return "its task is not one of ours"
    if not _is_number(headers.get("retries", 0)) or not _are_limits(headers.get("timelimit")):
        return "its retries or time limits are not numbers"
    if headers.get("eta") is not None or headers.get("expires") is not None:
        return "it has an ETA"
    if not all(isinstance(headers.get(name), str | None) for name in ("argsrepr", "kwargsrepr")):
        return "one of its headers is not text"
    if len(message["body"]) > LARGEST_BODY * 4 / 3:
        return f"it is larger than {LARGEST_BODY // 1024} KiB"
    if message.get("content-type") != "application/json":
        return "it is not packed as JSON"  # Celery refuses it too (accept_content), with a traceback
    return _fault_of_body(message)


def _fault_of_body(message: dict[str, Any]) -> str | None:
    body = message["body"]
    try:
        text = base64.b64decode(body) if message["properties"].get("body_encoding") == "base64" else body
        parts = json.loads(text)
    except (ValueError, RecursionError):
        return "its body is not JSON"
    match parts:
        case [[_], dict() as keywords, dict() as embedded] if not keywords and not any(embedded.values()):
            return None
        case [[_], dict() as keywords, dict()] if not keywords:
            return "it has callbacks or other follow-up tasks"
        case [list(), dict(), dict()]:
            return "its arguments are not those of our task"
        case _:
            return "its body is not arguments, keywords and options"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_limits(value: object) -> bool:
    return value is None or (
        isinstance(value, list) and len(value) == 2 and all(each is None or _is_number(each) for each in value)
    )
