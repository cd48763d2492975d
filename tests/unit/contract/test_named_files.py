"""Files named by settings: one that cannot be read is one plain sentence at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from contract.cluster.settings import first_line
from contract.cluster.tls import check_authorities
from contract.errors import SettingError
from contract.records.credentials import read_credentials
from worker.settings import WorkerSettings

Read = Callable[[str], object]

READ: dict[str, Read] = {
    "password": lambda path: first_line(path, variable="TRAWL_REDIS_PASSWORD_FILE"),
    "netrc": lambda path: read_credentials([], path),
    "headers": lambda path: read_credentials([f"@{path}"]),
    "authorities": lambda path: check_authorities(path, variable="TRAWL_REDIS_CA_FILE"),
    "certificates": lambda path: WorkerSettings(ca_file=path).certificates({}),
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "folder").mkdir()
    for name, content in (("binary", b"\x7fELF\xff\xfe"), ("zeros", bytes(64))):
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600)
    return tmp_path


@pytest.mark.parametrize("read", READ.values(), ids=READ)
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fifo", "cannot be read: {} is not a regular file."),
        ("/dev/zero", "cannot be read: {} is not a regular file."),
        ("folder", "cannot be read: {} is a folder."),
        ("absent", "cannot be read: there is no file {}."),
        ("folder/absent", "cannot be read: there is no file {}."),
        ("binary/below", "cannot be read: there is no file {}."),
    ],
)
def test_something_other_than_a_file_is_reported_in_plain_words_and_not_waited_for(
    place: Path, read: Read, name: str, said: str
) -> None:
    """Guards fault_of: a FIFO without a writer held the command for ever, Python's error names are not for users."""
    path = str(place / name)

    with pytest.raises(SettingError) as raised:
        read(path)

    assert str(raised.value).endswith(said.format(path))


@pytest.mark.parametrize("name", ["binary", "zeros"])
@pytest.mark.parametrize("kind", READ)
def test_a_file_that_is_not_text_is_reported(place: Path, kind: str, name: str) -> None:
    said = (
        "without certificates in PEM form"
        if kind in ("authorities", "certificates")
        else "not text|not a netrc file|must look like"
    )

    with pytest.raises(SettingError, match=said):
        READ[kind](str(place / name))


@pytest.mark.parametrize(
    ("kind", "written"), [("password", b"secret\n"), ("netrc", b"machine a.test login b password c")]
)
def test_a_pipe_from_the_shell_is_read(kind: str, written: bytes) -> None:
    """Guards may_be_pipe: `<(pass show redis)` keeps a password off the disk."""
    reading, writing = os.pipe()
    os.write(writing, written)
    os.close(writing)

    assert READ[kind](f"/dev/fd/{reading}")
    os.close(reading)
