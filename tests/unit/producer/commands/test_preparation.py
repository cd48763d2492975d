"""What a run does before its worker starts."""

import subprocess
import sys
from pathlib import Path

import pytest

from contract.errors import InputError, SettingError, TrawlError
from contract.records.policy import Digest, JobPolicy
from producer.commands.preparation import RunOptions, WorkerOptions, prepared
from producer.display.console import Console
from producer.job.plan import JobSpec
from producer.wiring import Producer
from tests.support.celery_worker import PROJECT

CODE = """
import sys
import producer.cli, producer.cli.translation, producer.commands.preparation
print(sorted({"celery", "kombu", "redis", "asyncio"} & sys.modules.keys()))
"""


def test_nothing_that_talks_to_redis_is_imported_before_the_worker_starts() -> None:
    """Guards the start: three URLs took a quarter longer when the worker waited for the producer's imports."""
    done = subprocess.run([sys.executable, "-c", CODE], cwd=PROJECT, capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


@pytest.mark.parametrize(("digest", "package"), [(Digest.XXH3, "xxhash"), (Digest.BLAKE3, "blake3")])
@pytest.mark.parametrize(
    ("environment", "refusal"),
    [({}, SettingError), ({"TRAWL_BROKER_URL": "redis://127.0.0.1:1/0"}, InputError)],
    ids=["local", "on a cluster"],
)
def test_a_digest_whose_package_is_missing_is_refused_before_anything_starts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    digest: Digest,
    package: str,
    environment: dict[str, str],
    refusal: type[TrawlError],
) -> None:
    """A local run waited for minutes on a worker that could not begin; a cluster's workers have packages of their own.

    Guards the check in ``prepared``; on a cluster it is the missing list that is refused.
    """
    monkeypatch.setitem(sys.modules, package, None)
    out = tmp_path / "out"
    manifest = out / "manifest.jsonl"
    options = RunOptions(
        spec=JobSpec(lists=[str(tmp_path / "no-list")], policy=JobPolicy(digest=digest), manifest=manifest),
        output=out,
        manifest=manifest,
        worker=WorkerOptions(processes=1),
    )

    with pytest.raises(refusal) as raised, prepared(options, Producer(environment), Console(is_quiet=True)):
        pass

    assert ("trawlnet[digests]" in str(raised.value)) is (refusal is SettingError)
    assert not out.exists()
