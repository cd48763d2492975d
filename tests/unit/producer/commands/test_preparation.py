"""What a run does before its worker starts."""

import subprocess
import sys

from tests.support.celery_worker import PROJECT

CODE = """
import sys
import producer.cli, producer.cli.translation, producer.commands.preparation
print(sorted({"celery", "kombu", "redis", "asyncio"} & sys.modules.keys()))
"""


def test_nothing_that_talks_to_redis_is_imported_before_the_worker_starts() -> None:
    """Guards the start: three URLs took a quarter longer where the worker waited for the producer's imports."""
    done = subprocess.run([sys.executable, "-c", CODE], cwd=PROJECT, capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
