"""Celery sees only messages that Celery wrote, and none that would end its worker."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.cluster.envelopes import LARGEST_BODY, fault_of


def packed(value: object) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


ARGUMENTS = [[{"version": 1, "job": "a", "batch": "1"}], {}, {"callbacks": None, "errbacks": None, "chain": None}]
TASK: dict[str, Any] = {
    "body": packed(ARGUMENTS),
    "content-type": "application/json",
    "content-encoding": "utf-8",
    "headers": {
        "task": "trawlnet.batch", "id": "a.1", "retries": 0, "timelimit": [900, 780.0], "eta": None, "expires": None,
        "argsrepr": "job=a batch=1", "kwargsrepr": "",
    },
    "properties": {
        "delivery_tag": "tag", "delivery_info": {"exchange": "", "routing_key": "trawl"}, "body_encoding": "base64",
    },
}  # fmt: skip
EVENT = {**TASK, "headers": {"hostname": "w@host"}, "body": packed([{"type": "worker-heartbeat"}])}


def changed(path: str, value: object) -> dict[str, Any]:
    """Return a copy of the task's envelope with one value replaced; `...` removes it."""
    envelope = copy.deepcopy(TASK)
    *above, name = path.split(".")
    place = envelope
    for step in above:
        place = place[step]
    if value is ...:
        del place[name]
    else:
        place[name] = value
    return envelope


def test_messages_from_celery_are_valid() -> None:
    assert fault_of(TASK) is None
    assert fault_of(EVENT) is None
    assert fault_of(changed("headers.timelimit", [None, None])) is None
    assert fault_of(changed("headers.retries", ...)) is None


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("body", ...),
        ("body", None),
        ("body", packed(7)),
        ("body", packed([[], {}])),
        ("body", packed([{}, [], {}])),
        ("body", "!"),
        ("body", packed("[" * 20000)[4:]),
        ("body", packed([["x" * LARGEST_BODY], {}, {}])),
        ("body", packed([[1], {}, {"callbacks": [{"task": "celery.backend_cleanup"}]}])),
        ("body", packed([[1], {}, {"chain": [{"task": "trawlnet.batch"}]}])),
        ("body", packed([[], {}, {}])),
        ("body", packed([[1, 2], {}, {}])),
        ("body", packed([[1], {"message": 2}, {}])),
        ("content-type", "application/x-python-serialize"),
        ("headers", ...),
        ("headers", []),
        ("headers.task", "os.system"),
        ("headers.task", None),
        ("headers.task", ["trawlnet.batch"]),
        ("headers.id", ...),
        ("headers.id", 7),
        ("headers.retries", "many"),
        ("headers.retries", True),
        ("headers.timelimit", ["a", "b"]),
        ("headers.timelimit", [1]),
        ("headers.timelimit", 900),
        ("headers.eta", 7),
        ("headers.eta", "tomorrow"),
        ("headers.argsrepr", {}),
        ("headers.compression", "application/x-gzip"),
        ("properties", ...),
        ("properties.delivery_tag", None),
        ("properties.delivery_info", ...),
        ("properties.delivery_info.routing_key", ["trawl"]),
    ],
)
def test_foreign_messages_have_a_fault_that_quotes_nothing(path: str, value: object) -> None:
    fault = fault_of(changed(path, value))

    assert fault is not None
    assert len(fault) < 70
    assert "trawlnet" not in fault


@pytest.mark.parametrize("message", [None, 7, "text", [], [1, 2], {}])
def test_anything_but_an_envelope_has_a_fault(message: object) -> None:
    assert fault_of(message) is not None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
PATHS = ["body", "headers", "properties", "content-type", *(f"headers.{name}" for name in TASK["headers"])]


@given(path=st.sampled_from(PATHS), value=JSON)
def test_checking_never_raises(path: str, value: object) -> None:
    fault_of(changed(path, value))
    fault_of({**TASK, "body": packed(value)})
    fault_of(value)
