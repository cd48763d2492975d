"""A file that is not a list of URLs is recognised by its start, before anything is started."""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from contract.errors import InputError
from producer.intake.formats import check_has_urls, fault_of_head

LIST = b"http://h/a\nhttp://h/b\n"


@dataclass
class Lines:
    """Lists that begin with these lines."""

    lines: Sequence[bytes]
    shown: str = "The list urls.txt"
    is_seen_whole: bool = False

    def peek(self, lines: int) -> Sequence[bytes]:
        return self.lines[:lines]


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (gzip.compress(LIST, mtime=0), "compressed with gzip; unpack it first: `zcat LIST"),
        (b"\x28\xb5\x2f\xfd\x04\x00", "compressed with Zstandard"),
        (b"PK\x03\x04", "compressed with zip"),
        (b"PAR1\x15\x04", "is Parquet; write the column of its URLs"),
        (b"SQLite format 3\0", "a SQLite database"),
        (LIST.decode().encode("utf-16"), "is UTF-16; convert it first: iconv -f UTF-16 -t UTF-8"),
        (LIST.decode().encode("utf-16-le"), "is UTF-16LE"),
        (LIST.decode().encode("utf-16-be"), "is UTF-16BE"),
        (LIST.decode().encode("utf-32"), "is UTF-32"),
        (bytes(range(256)), "is not text"),
        (b"\0" * 4096, "is not text"),
    ],
)
def test_a_file_that_is_not_a_list_is_recognised_by_its_first_bytes(head: bytes, said: str) -> None:
    found = fault_of_head(head)

    assert found is not None
    assert said in found


@pytest.mark.parametrize(
    "head",
    [
        b"",
        LIST,
        b"\xef\xbb\xbf" + LIST,
        b"http://h/\0\0\0",
        "# \u00fcber \u65e5\n".encode(),
        b"\xfcber\n",
        b"a\rb\r",
        b"\n\n\t\x1b[1m",
    ],
)
def test_any_text_is_a_list(head: bytes) -> None:
    assert fault_of_head(head) is None


def test_a_thousand_refused_lines_end_the_command_with_the_first_reason() -> None:
    rows = [b"# a comment", b"", *(b"%d,http://h/%d" % (number, number) for number in range(998))]

    with pytest.raises(InputError, match=r"list urls.txt has no URL in its first 1,000 lines, .*: line 3: .* CSV"):
        check_has_urls(Lines(rows))


@pytest.mark.parametrize(
    "lines",
    [[b"ftp://h/"] * 999, [*[b"ftp://h/"] * 999, b"http://h/"], [b"# nothing"] * 1000, []],
    ids=["few", "one URL", "comments", "empty"],
)
def test_fewer_refused_lines_are_rows(lines: list[bytes]) -> None:
    check_has_urls(Lines(lines))


@pytest.mark.parametrize("lines", [[], [b""], [b"# nothing", b" ", b""]])
def test_an_empty_list_ends_the_command_before_any_job_is_cancelled(lines: list[bytes]) -> None:
    with pytest.raises(InputError, match=r"The list urls\.txt holds no URLs: put one per line"):
        check_has_urls(Lines(lines, is_seen_whole=True))
