"""Without a login Flower serves this machine only, however it is started; a port in use is one sentence."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.celery_worker import PROJECT
from tests.support.person import Person, ran
from tests.support.processes import await_condition, begin, free_port, listeners

BROKER = f"redis://127.0.0.1:{free_port()}/0"  # no broker is there: Flower shows its pages all the same
CELERY = (sys.executable, "-m", "celery", "-A", "worker", "flower")
DOOR = (sys.executable, "-P", "-m", "producer", "flower")


def environment(**variables: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "TRAWL_BROKER_URL": BROKER, **variables}


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("command", [CELERY, DOOR], ids=["celery", "trawl"])
@pytest.mark.parametrize("variables", [{}, {"FLOWER_BASIC_AUTH": "me:secret"}], ids=["open", "login"])
def test_flower_listens_on_loopback_by_default(
    command: tuple[str, ...], variables: dict[str, str], tmp_path: Path
) -> None:
    """Guards the address, which Flower would leave empty: all addresses. A folder's own worker.py is not ours."""
    port = free_port()
    (tmp_path / "worker.py").write_text("raise SystemExit('not this one')")
    (tmp_path / "contract").mkdir()
    (tmp_path / "contract/__init__.py").write_text("raise SystemExit('nor this one')")
    where = PROJECT if command is CELERY else tmp_path
    with (tmp_path / "log").open("wb") as log:
        flower = begin([*command, f"--port={port}"], env=environment(**variables), cwd=where, stdout=log, stderr=log)

    await_condition(
        lambda: listeners(port) or flower.poll() is not None, within=60, what="Flower listening, or its end"
    )

    assert listeners(port) == {"0100007F"}, (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("options", "variables", "file", "said"),
    [
        (["--address=0.0.0.0"], {}, "", "Flower listens on 0.0.0.0 only with a login"),
        ([], {"FLOWER_ADDRESS": "::"}, "", "Flower listens on :: only with a login"),
        ([], {}, "address = '192.0.2.7'", "Flower listens on 192.0.2.7 only with a login"),
        ([], {"FLOWER_BASIC_AUTH": "s3cret"}, "", "Flower's login is not user:password"),
        (["--basic-auth="], {}, "", "Flower's login is not user:password"),
    ],
)  # fmt: skip
def test_an_open_flower_without_login_is_refused_wherever_it_is_configured(
    options: list[str], variables: dict[str, str], file: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "conf.py").write_text(f"{file}\n")
    command = [*CELERY, f"--port={free_port()}", f"--conf={tmp_path / 'conf.py'}", *options]

    ended = ran(*command, env=environment(**variables))

    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith(said)
    assert ended.stderr.count("\n") == 1
    assert "s3cret" not in ended.stderr


@pytest.mark.parametrize("command", [CELERY, DOOR], ids=["celery", "trawl"])
def test_a_port_in_use_is_one_sentence(command: tuple[str, ...]) -> None:
    with taken_port() as port:
        ended = ran(*command, f"--port={port}", env=environment())

    assert ended.returncode == 2
    assert ended.stderr == (
        f"Flower cannot listen on 127.0.0.1 port {port} (address already in use): choose another with --port.\n"
    )


def test_a_run_with_flower_on_a_port_in_use_starts_nothing(person: Person) -> None:
    person.write_list("http://127.0.0.1:9/")

    with taken_port() as port:
        ended = person.trawl("run", "urls.txt", "-o", "out", "--flower", "--flower-port", port)

    assert ended.code == 2
    assert ended.err == (
        f"trawl: Flower cannot listen on 127.0.0.1 port {port} (address already in use):"
        " choose another with --flower-port.\n"
    )
    assert not (person.folder / "out").exists()
