"""Outcomes, batches, policies, messages and reports survive encoding, and nothing else is accepted."""

from __future__ import annotations

import json
import secrets

import pytest

from contract.errors import MessageError, SettingError
from contract.records import wire
from contract.records.batches import BatchEntry, pack_entries, unpack_entries
from contract.records.messages import MESSAGE_VERSION, BatchMessage, child_batch
from contract.records.policy import Digest, JobPolicy, Sync
from contract.records.reports import BatchReport
from contract.urls.naming import Layout


def test_a_payload_of_plain_urls_costs_a_few_bytes_each() -> None:
    entries = [BatchEntry(url=f"https://host{n % 7}.example/photos/{n:08}.jpg") for n in range(500)]

    assert len(pack_entries(entries)) / len(entries) < 40


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"not zstd",
        wire.pack([]),
        wire.pack({"version": 999, "entries": []}),
        wire.pack({"version": 1}),
        wire.pack({"version": 1, "entries": [7]}),
        pack_entries([BatchEntry(url="x" * 500)])[:-9],
    ],
)
def test_a_damaged_or_foreign_payload_is_an_error(payload: bytes) -> None:
    with pytest.raises(MessageError):
        unpack_entries(payload)


def test_a_record_that_unpacks_to_more_than_allowed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "LARGEST_RECORD", 1000)

    with pytest.raises(MessageError, match="larger than allowed"):
        wire.unpack(wire.pack("x" * 100_000))


def test_a_policy_survives_encoding() -> None:
    policy = JobPolicy(
        timeout=5.0, allow_nets=("127.0.0.0/8",), layout=Layout.SHARDED, digest=Digest.NONE, sync=Sync.FILE, splits=4
    )

    assert JobPolicy.from_wire(json.loads(wire.to_json(policy.to_wire()))) == policy


@pytest.mark.parametrize("text", ["a\r\nX-Injected: 1", "a\nb", "a\0b", "\x7f", "\udce9"])
def test_a_user_agent_that_would_break_every_request_is_refused_in_a_sentence(text: str) -> None:
    """Guards ``__post_init__``: libcurl sends a line break as it is, and pycurl refuses text that is not UTF-8."""
    with pytest.raises(SettingError, match="--user-agent"):
        JobPolicy(user_agent=text)
    with pytest.raises(MessageError):
        JobPolicy.from_wire({**JobPolicy().to_wire(), "user_agent": text})


def test_a_policy_of_the_same_version_with_unknown_fields_keeps_the_known_ones() -> None:
    record = {**JobPolicy(timeout=9.0).to_wire(), "shiny_new_thing": True}

    assert JobPolicy.from_wire(record).timeout == 9.0


@pytest.mark.parametrize(
    "record", [{}, {"version": 2}, {"version": 1, "layout": "spiral"}, {"version": 1, "allow_nets": 5}]
)
def test_an_invalid_policy_is_an_error(record: dict[str, object]) -> None:
    with pytest.raises(MessageError):
        JobPolicy.from_wire(record)


def test_a_batch_handed_off_for_days_keeps_a_short_name() -> None:
    """Guards what a child's name keeps of its parent's: a full disk hands off every minute."""
    names = ["7"]
    for number in range(2000):
        names.append(child_batch(names[-1], 1, f"worker@host/{number:016x}"[:-4]))

    assert names[1] == "7.000000000000-1"
    assert all(BatchMessage.from_wire(BatchMessage("job", name).to_wire()).batch == name for name in names)
    assert max(map(len, names)) < 20


def test_two_hand_offs_of_one_batch_share_no_name() -> None:
    """A Redis that comes back older than a hand-off lets it happen again, differently."""
    tokens = [f"worker@host/{secrets.token_hex(8)}" for _ in range(100)]

    assert len({child_batch("7", index, token) for token in tokens for index in (1, 2)}) == 200


@pytest.mark.parametrize(
    "wire_form",
    [
        None, "job-1", [], {}, {"version": MESSAGE_VERSION + 1, "job": "j", "batch": "1"},
        {"version": MESSAGE_VERSION, "job": "../x", "batch": "1"},
        {"version": MESSAGE_VERSION, "job": "j", "batch": "1;DROP"},
        {"version": MESSAGE_VERSION, "job": "j", "batch": 1},
        {"version": MESSAGE_VERSION, "job": "j" * 65, "batch": "1"},
    ],
)  # fmt: skip
def test_what_is_not_a_message_of_this_version_is_rejected(wire_form: object) -> None:
    with pytest.raises(MessageError):
        BatchMessage.from_wire(wire_form)


@pytest.mark.parametrize(
    "blob",
    [
        b"{", b"[]", b'{"status": "PENDING"}', b'{"status": "SUCCESS", "result": {"version": 99}}',
        b'{"status": "SUCCESS", "result": {"version": 1}}',
    ],
)  # fmt: skip
def test_a_foreign_result_is_not_a_report(blob: bytes) -> None:
    with pytest.raises(MessageError):
        BatchReport.from_result(blob)
