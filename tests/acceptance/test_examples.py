"""The examples run unchanged, with a worker of their own."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.urls.naming import output_name
from producer.commands.demo import demo_server
from tests.support.person import ran

ROOT = Path(__file__).resolve().parents[2]
RUN = """
import runpy, sys
if __name__ == "__main__":
    example = runpy.run_path(sys.argv[1])
    example["main"](sys.argv[2:], ("127.0.0.0/8",))
"""


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    with demo_server(latency=0.02, spread=0.5) as address:
        yield address


@pytest.mark.parametrize("example", ["enqueue", "futures"])
def test_an_example_prints_how_each_url_ended(tmp_path: Path, web: str, example: str) -> None:
    urls = [f"{web}/file/1", f"{web}/file/2", f"{web}/missing/3"]

    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", RUN, ROOT / "examples" / f"{example}.py", *urls]

    done = ran(*command, cwd=tmp_path, env=environment)

    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    for url in urls[:2]:
        assert f"stored as {output_name(url)}" in done.stdout
        assert (tmp_path / "out" / output_name(url)).is_file()
    assert "http-4xx" in done.stdout
    if example == "futures":
        assert "One by one" in done.stdout
        assert "Concurrently" in done.stdout
