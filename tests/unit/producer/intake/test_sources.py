"""Lists of URLs: read in chunks whose positions are always between two lines."""

import gzip
import os
from pathlib import Path
from threading import Timer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import InputError
from producer.intake import sources
from producer.intake.sources import Chunk, Lists, Position


def all_chunks(lists: Lists) -> list[Chunk]:
    chunks = []
    while not lists.is_exhausted:
        chunk = lists.read(wait=1.0)
        if chunk is not None:
            chunks.append(chunk)
    return chunks


def lines_of(chunks: list[Chunk]) -> list[bytes]:
    return [line for chunk in chunks for line in chunk.lines]


def test_lines_of_several_lists_come_in_order_with_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one\ntwo\n")
    (tmp_path / "b").write_bytes(b"three\r\n\nfour")

    chunks = all_chunks(Lists([str(tmp_path / "a"), str(tmp_path / "b")]))

    numbered = [(chunk.first_line + index, line) for chunk in chunks for index, line in enumerate(chunk.lines)]
    assert numbered == [(1, b"one"), (2, b"two"), (1, b"three\r"), (2, b""), (3, b"four")]


def test_an_overlong_line_is_cut_and_its_neighbours_are_whole(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(b"before\n" + b"x" * 9_000_000 + b"\nafter\n")

    chunks = all_chunks(Lists([str(path)]))

    first, long, last = lines_of(chunks)
    assert (first, last) == (b"before", b"after")
    assert 17_408 < len(long) < 600_000
    assert chunks[-1].position.offset == path.stat().st_size


def test_reading_an_endless_line_yields_now_and_then(tmp_path: Path) -> None:
    """Guards _READS_AT_ONCE: reading /dev/zero could be ended only by kill -9."""
    path = tmp_path / "list"
    path.write_text("http://h/")
    os.truncate(path, 64 * 1024 * 1024)
    lists = Lists([str(path)])

    assert lists.read() is None
    assert not lists.is_exhausted


def test_an_endless_line_costs_no_memory() -> None:
    read, write = os.pipe()
    lists = Lists(["-"], standard_input=read)
    for _ in range(100):
        os.write(write, b"x" * 60_000)
        assert lists.read() is None
    os.write(write, b"\nnext\n")
    os.close(write)

    chunks = all_chunks(lists)

    assert [len(line) <= 40_000 for line in lines_of(chunks)] == [True, True]
    assert lines_of(chunks)[1] == b"next"
    assert chunks[-1].position.offset == 6_000_006
    os.close(read)


@given(st.lists(st.binary(max_size=40), max_size=40), st.integers(0, 40))
def test_a_second_reader_continues_exactly_where_the_first_stopped(lines: list[bytes], stop: int) -> None:
    read, write = os.pipe()
    text = b"\n".join([b"http://h/", *lines])
    os.write(write, text)
    os.close(write)
    lists = Lists(["-"], standard_input=read)
    looked_at = lists.peek(stop)
    chunks = all_chunks(lists)
    positions = [Position(), *(chunk.position for chunk in chunks)]
    position = positions[min(stop, len(positions) - 1)]
    os.close(read)

    again, write = os.pipe()
    os.write(write, text)
    os.close(write)
    resumed = Lists(["-"], standard_input=again)
    assert resumed.skip_to(position)
    rest = all_chunks(resumed)
    os.close(again)

    assert list(looked_at) == text.split(b"\n")[:stop]
    assert lines_of(chunks) == text.split(b"\n")[: len(lines_of(chunks))]
    assert lines_of(chunks)[-len(lines_of(rest)) or len(lines_of(chunks)) :] == lines_of(rest)


def test_peek_reports_whether_it_saw_the_whole_list(tmp_path: Path) -> None:
    """Guards ``is_seen_whole``: nothing is known of the rest of a list that may continue, or has another behind it."""
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "b").write_bytes(b"http://h/")
    one, two, some = Lists([str(tmp_path / "a")]), Lists([str(tmp_path / "a"), str(tmp_path / "b")]), Lists(["-"])

    for lists in (one, two):
        assert lists.peek(10) == [b""]
    assert (one.is_seen_whole, two.is_seen_whole, some.is_seen_whole) == (True, False, False)
    one.close()
    two.close()


def test_the_first_bytes_of_a_slow_list_can_be_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards ``await_bytes``: a job would be cancelled for a slow pipe that turns out to be empty."""
    monkeypatch.setattr(sources, "_LOOK", 0.0)
    read, write = os.pipe()
    lists = Lists(["-"], standard_input=read)
    later = Timer(0.2, os.write, (write, b"http://h/\n"))
    later.start()

    lists.await_bytes()

    assert lists.peek(1) == [b"http://h/"]
    later.join()
    os.close(read)
    os.close(write)


def test_the_lines_of_a_chunk_are_bounded(tmp_path: Path) -> None:
    """Guards _MOST_LINES: with "x" on every line a chunk had 128,000 lines, and as many refusals at once."""
    (tmp_path / "list").write_bytes(b"x\n" * 10_000 + b"y")
    lists = Lists([str(tmp_path / "list")])
    lists.peek(10)

    chunks = all_chunks(lists)

    assert [len(chunk.lines) for chunk in chunks] == [4096, 4096, 1808, 1]
    assert [chunk.first_line for chunk in chunks] == [1, 4097, 8193, 10_001]
    assert lines_of(chunks) == [b"x"] * 10_000 + [b"y"]
    resumed = Lists([str(tmp_path / "list")])
    assert resumed.skip_to(chunks[1].position)
    assert lines_of(all_chunks(resumed)) == [b"x"] * 1808 + [b"y"]


def test_chunks_of_a_file_are_full_whatever_the_last_one_left(tmp_path: Path) -> None:
    """Guards the second read: a chunk cut off at its 4,096 lines was followed by one of some hundred."""
    (tmp_path / "urls.txt").write_bytes(b"".join(b"http://h/%050d\n" % number for number in range(10_000)))

    chunks = all_chunks(Lists([str(tmp_path / "urls.txt")]))

    assert [len(chunk.lines) for chunk in chunks] == [4096, 4096, 1808]


def test_a_changed_list_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(b"http://a/\nhttp://b/\n")
    lists = Lists([str(path)])
    chunk = lists.read()
    assert chunk is not None
    position = Position(0, 10, 1, 0xDEADBEEF)

    assert Lists([str(path)]).skip_to(Position.from_record(chunk.position.to_record()))
    assert not Lists([str(path)]).skip_to(position)
    assert not Lists([str(path)]).skip_to(Position(0, 1000, 50, chunk.position.checksum))


@pytest.mark.parametrize(
    ("name", "said"),
    [("absent", "cannot be read"), ("folder", "is a folder"), ("a gz", r"compressed with gzip; .* `zcat '.*a gz' \|")],
)
def test_an_unreadable_list_is_reported_before_anything_starts(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "good").write_text("http://h/\n")
    (tmp_path / "a gz").write_bytes(gzip.compress(b"http://h/\n"))

    with pytest.raises(InputError, match=said):
        Lists([str(tmp_path / "good"), str(tmp_path / name)])


def test_a_url_as_list_is_refused() -> None:
    with pytest.raises(InputError, match=r"A list cannot be a URL: download it first"):
        Lists(["https://h.example/urls.txt"])


def test_compressed_data_from_a_pipe_is_reported_too() -> None:
    read, write = os.pipe()
    os.write(write, gzip.compress(b"http://h/\n"))
    os.close(write)

    with pytest.raises(InputError, match="Standard input is compressed with gzip"):
        Lists(["-"], standard_input=read).read()
    os.close(read)


def test_standard_input_can_be_named_once_only() -> None:
    with pytest.raises(InputError, match="once"):
        Lists(["-", "-"])
