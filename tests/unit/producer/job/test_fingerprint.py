"""Which commands are one job: the same specification, also if a version until 31f4598 began it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contract.records.policy import JobPolicy
from contract.urls.naming import Layout
from producer.intake.sources import Lists
from producer.job.plan import JobSpec, begin, begin_or_resume
from producer.storage.journal import Journal

SPEC = JobSpec(lists=["/lists/urls.txt", "-"], policy=JobPolicy(), manifest=Path("/out/manifest.jsonl"))
CHOOSY = JobSpec(
    lists=["/lists/urls.txt"],
    policy=JobPolicy(allow_nets=("127.0.0.0/8",), layout=Layout.SHARDED, per_host=2, timeout=12.5),
    manifest=None,
    is_forced=True,
)


@pytest.mark.parametrize(
    ("spec", "written"),
    [
        (SPEC, "aabcd6c761022481a41c536c184b138bb97267b4d73e3d80da173ff921fa2789"),
        (CHOOSY, "f1d6a8def1a86499af23cbb1a5f9c2e6b5d162b4c05ad44239b449827fc8f177"),
    ],
)
def test_a_spec_has_the_fingerprint_of_31f4598(spec: JobSpec, written: str) -> None:
    """These were made by that version."""
    assert spec.earlier_fingerprint == written


def test_options_unknown_to_31f4598_have_no_earlier_fingerprint() -> None:
    assert replace(SPEC, policy=JobPolicy(first_byte_timeout=7.0)).earlier_fingerprint is None


def test_another_list_policy_or_manifest_is_another_job() -> None:
    others = [
        replace(SPEC, lists=["/lists/urls.txt"]),
        replace(SPEC, policy=JobPolicy(attempts=5)),
        replace(SPEC, manifest=None),
        replace(SPEC, is_forced=True),
    ]

    assert len({spec.fingerprint for spec in (SPEC, *others)}) == 5
    assert len({spec.earlier_fingerprint for spec in (SPEC, *others)}) == 5


def test_a_folder_of_an_earlier_version_is_resumed(tmp_path: Path, journal: Journal) -> None:
    """Guards the earlier fingerprint: one more field in the policy made every unfinished folder another list's."""
    listed = tmp_path / "urls.txt"
    listed.write_text("http://a.test/\n")
    spec = JobSpec(lists=[str(listed)], policy=JobPolicy(), manifest=None)
    assert spec.earlier_fingerprint is not None
    begin(journal, "job-1", pytest.fail, fingerprint=spec.earlier_fingerprint, label="urls.txt", manifest=None)

    lists, is_old = begin_or_resume(spec, Lists(spec.lists), journal, pytest.fail, pytest.fail)

    lists.close()
    assert (is_old, journal.job) == (True, "job-1")


@pytest.mark.parametrize(
    ("other", "has"),
    [
        ({"policy": JobPolicy(per_host=2, slowest=0)}, "other options (--min-speed, --per-host)"),
        ({"is_forced": True}, "other options (--force)"),
        ({"lists": ["b.txt"], "policy": JobPolicy(timeout=9.0)}, "another list and other options (--timeout)"),
        ({"lists": ["b.txt"]}, "another list"),
    ],
)
def test_changed_options_are_named_and_the_job_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: dict[str, Any], has: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("http://a.test/\n")
    first = JobSpec(lists=["a.txt"], policy=JobPolicy(allow_nets=("10.0.0.0/8",)), manifest=None)
    second = replace(first, **{"policy": first.policy, **other})
    second = replace(second, policy=replace(second.policy, allow_nets=first.policy.allow_nets))
    told: list[str] = []
    given_up: list[str] = []
    with closing(Journal(tmp_path / "state")) as journal:
        begin_or_resume(first, Lists(first.lists), journal, pytest.fail, pytest.fail)
        job = journal.job
    with closing(Journal(tmp_path / "state")) as journal:  # as it was written
        _, is_old = begin_or_resume(second, Lists(second.lists), journal, told.append, given_up.append)

        assert journal.job != job
    assert not is_old
    assert [line.partition(": ")[0] for line in told] == [f"The unfinished job in this folder, {job}, has {has}"]
    assert given_up == [job]


def test_a_job_that_is_started_over_is_cancelled(tmp_path: Path, journal: Journal) -> None:
    listed = tmp_path / "urls.txt"
    listed.write_text("http://a.test/\n")
    spec = JobSpec(lists=[str(listed)], policy=JobPolicy(), manifest=None)
    given_up: list[str] = []
    begin(journal, "job-1", pytest.fail, fingerprint=spec.fingerprint, label="urls.txt", manifest=None)

    begin_or_resume(replace(spec, is_fresh=True), Lists(spec.lists), journal, pytest.fail, given_up.append)
    journal.finish()
    begin_or_resume(spec, Lists(spec.lists), journal, pytest.fail, given_up.append)

    assert given_up == ["job-1"], "a finished one is not"
