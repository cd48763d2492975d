"""The embedded server's socket gets a short path that no other user can reach."""

import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.errors import ServiceError
from producer.cluster import socket_folder
from producer.cluster.socket_folder import SOCKET, make_socket_folder


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the only temporary folder of this machine, as far as the code under test knows."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setattr(socket_folder, "_SYSTEM", (folder,))
        yield Path(folder)


def made(environment: dict[str, str], otherwise: Path = Path("/nowhere")) -> Path:
    folder = make_socket_folder(environment, otherwise)
    with socket.socket(socket.AF_UNIX) as probe:
        probe.bind(os.path.join(folder, SOCKET))
    return Path(folder)


def test_the_folder_is_made_below_tmpdir_for_its_owner_alone(short: Path) -> None:
    wanted = short / "with a blank"
    wanted.mkdir(mode=0o700)

    folder = made({"TMPDIR": str(wanted)})

    assert folder.parent == wanted
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["long" * 40, "\udce9", "absent"], ids=["too long", "no text", "absent"])
def test_a_tmpdir_without_sockets_is_skipped(short: Path, name: str) -> None:
    wanted = short / name
    if name != "absent":
        wanted.mkdir(mode=0o700)

    folder = made({"TMPDIR": str(wanted)})

    assert folder.parent == short
    assert list(wanted.glob("*")) == [], "what was tried there is taken away"


def test_a_tmpdir_where_others_could_replace_the_folder_is_skipped(short: Path) -> None:
    wanted = short / "open"
    wanted.mkdir()
    wanted.chmod(0o777)

    assert made({"TMPDIR": str(wanted)}).parent == short

    wanted.chmod(0o1777)
    assert made({"TMPDIR": str(wanted)}).parent == wanted


def test_a_relative_tmpdir_is_relative_to_the_current_folder(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(short)
    (short / "here").mkdir(mode=0o700)

    assert made({"TMPDIR": "here"}).parent == short / "here"


def test_without_any_temporary_folder_the_output_folder_holds_the_socket(short: Path) -> None:
    otherwise = short / "out"
    otherwise.mkdir()
    short.chmod(0o777)

    assert made({}, otherwise).parent == otherwise


def test_if_no_place_will_do_the_error_says_what_to_set(short: Path) -> None:
    short.chmod(0o777)

    with pytest.raises(ServiceError, match="set TMPDIR"):
        make_socket_folder({}, short / "absent")
