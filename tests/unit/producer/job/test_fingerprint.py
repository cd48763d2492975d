"""Which commands are one job: the same wish, also where a version until 31f4598 began it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from contract.records.policy import JobPolicy
from contract.urls.naming import Layout
from producer.intake.sources import Lists
from producer.job.plan import JobSpec, begin, begin_or_go_on
from producer.storage.journal import Journal

WISH = JobSpec(lists=["/lists/urls.txt", "-"], policy=JobPolicy(), manifest=Path("/out/manifest.jsonl"))
CHOOSY = JobSpec(
    lists=["/lists/urls.txt"],
    policy=JobPolicy(allow_nets=("127.0.0.0/8",), layout=Layout.SHARDED, per_host=2, timeout=12.5),
    manifest=None,
    is_forced=True,
)


@pytest.mark.parametrize(
    ("wish", "written"),
    [
        (WISH, "aabcd6c761022481a41c536c184b138bb97267b4d73e3d80da173ff921fa2789"),
        (CHOOSY, "f1d6a8def1a86499af23cbb1a5f9c2e6b5d162b4c05ad44239b449827fc8f177"),
    ],
)
def test_a_wish_is_called_what_31f4598_called_it(wish: JobSpec, written: str) -> None:
    """These were made by that version."""
    assert wish.earlier_fingerprint == written


def test_what_31f4598_could_not_be_told_is_no_wish_of_its() -> None:
    assert replace(WISH, policy=JobPolicy(first_byte_timeout=7.0)).earlier_fingerprint is None


def test_another_list_policy_or_manifest_is_another_job() -> None:
    others = [
        replace(WISH, lists=["/lists/urls.txt"]),
        replace(WISH, policy=JobPolicy(attempts=5)),
        replace(WISH, manifest=None),
        replace(WISH, is_forced=True),
    ]

    assert len({wish.fingerprint for wish in (WISH, *others)}) == 5
    assert len({wish.earlier_fingerprint for wish in (WISH, *others)}) == 5


def test_a_folder_that_an_earlier_version_began_is_gone_on_with(tmp_path: Path) -> None:
    """Guards the earlier name: one field more in the policy made every unfinished folder another list's."""
    listed = tmp_path / "urls.txt"
    listed.write_text("http://a.test/\n")
    wish = JobSpec(lists=[str(listed)], policy=JobPolicy(), manifest=None)
    assert wish.earlier_fingerprint is not None
    journal = Journal(tmp_path / "state")
    begin(journal, "job-1", pytest.fail, fingerprint=wish.earlier_fingerprint, label="urls.txt", manifest=None)

    lists, is_old = begin_or_go_on(wish, Lists(wish.lists), journal, pytest.fail)

    lists.close()
    assert (is_old, journal.job) == (True, "job-1")
    journal.close()
