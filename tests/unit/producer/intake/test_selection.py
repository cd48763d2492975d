"""Which lines become entries: each URL once, refused lines as rows, files of earlier jobs known."""

from collections.abc import Iterable, Mapping

from contract.records.batches import BatchEntry, Known
from contract.records.outcomes import Ending, Outcome
from contract.urls.expected import Expected
from contract.urls.naming import output_name
from producer.intake.selection import Selection
from producer.intake.sources import Chunk, Position


class Remembering:
    """The journal's side, in memory."""

    def __init__(self, known: Mapping[bytes, Known | Outcome] | None = None) -> None:
        self.names: set[bytes] = set()
        self.files = dict(known or {})

    def mark_seen(self, names: Iterable[bytes]) -> set[bytes]:
        new = set(names) - self.names
        self.names |= new
        return new

    def known(self, names: Iterable[bytes]) -> Mapping[bytes, Known | Outcome]:
        return {name: self.files[name] for name in names if name in self.files}


def chunk(*lines: bytes, first: int = 1) -> Chunk:
    return Chunk("list.txt", first, lines, Position())


def test_every_line_with_content_is_counted_once() -> None:
    selected = Selection(Remembering()).judge(
        chunk(b"http://a/\r", b"", b"# note", b"http://a/", b"ftp://b/", b"http://b/ size=3", b"ftp://b/")
    )

    assert selected.entries == ["http://a/", BatchEntry("http://b/", expected=Expected(size=3))]
    assert (selected.duplicates, len(selected.refused), selected.lines) == (1, 2, 5)


def test_a_refused_line_is_a_row_with_its_position() -> None:
    alone = Selection(Remembering()).judge(chunk(b"gopher://x/", first=17)).refused[0]
    among = Selection(Remembering(), is_naming_lists=True).judge(chunk(b"gopher://x/", first=17)).refused[0]

    assert (alone.ending, alone.error, alone.url) == ("refused", "refused-url", "gopher://x/")
    assert str(alone.detail).startswith("line 17: ")
    assert str(among.detail).startswith("line 17 of list.txt: ")


def test_files_of_earlier_jobs_are_passed_on_unless_forced() -> None:
    known = Known(3, "sha256:aa")
    memory = Remembering({bytes.fromhex(output_name("http://a/")): known})

    kept = Selection(memory).judge(chunk(b"http://a/ size=3", b"http://b/", b"http://a/"))
    forced = Selection(Remembering(memory.files), is_forced=True).judge(chunk(b"http://a/"))

    assert kept.entries == [BatchEntry("http://a/", known, Expected(size=3)), "http://b/"]
    assert forced.entries == ["http://a/"]


def test_a_url_whose_file_was_compared_already_is_counted_and_needs_no_worker() -> None:
    name = output_name("http://a/")
    outcome = Outcome(url="http://a/", name=name, ending=Ending.KEPT)
    files = Remembering({bytes.fromhex(name): outcome})

    selected = Selection(Remembering(), files=files).judge(chunk(b"http://a/", b"http://b/", b"http://a/"))

    assert (selected.entries, selected.kept) == (["http://b/"], [outcome])
    assert (selected.urls, selected.duplicates, selected.lines) == (2, 1, 3)
