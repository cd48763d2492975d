"""What to do in an output folder: resume the job of an interrupted run, or begin a new one."""

from __future__ import annotations

import glob
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from contract.errors import FolderError, InputError
from contract.folders import PRIVATE
from contract.named_files import in_words
from contract.records.policy import JobPolicy
from contract.urls.naming import is_output_path
from producer import formatting
from producer.intake.selection import names_in
from producer.intake.sources import STANDARD_INPUT, Lists, Position
from producer.job.fingerprint import difference, earlier_fingerprint, fingerprint, options_of
from producer.storage.full_disk import FULL, FullDiskError
from producer.storage.journal import Journal
from producer.storage.manifest import look_at, set_aside, stored_rows
from producer.storage.stored import StoredRows, path_of

_ROWS_AT_ONCE = 10_000
_MENTIONED = 256 * 1024 * 1024  # bytes of earlier manifests


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """The job that a command describes; the same description in one folder is one job, however often it is started."""

    lists: Sequence[str]
    policy: JobPolicy
    manifest: Path | None  # None: another command follows
    is_forced: bool = False
    is_fresh: bool = False

    @property
    def fingerprint(self) -> str:
        """Identify lists and policy. How many processes work on them makes no difference."""
        return fingerprint(self._places, self.policy, self.is_forced, str(self.manifest))

    @property
    def earlier_fingerprint(self) -> str | None:
        """The fingerprint as of versions until 31f4598; None: they lacked one of the options."""
        return earlier_fingerprint(self._places, self.policy, self.is_forced, str(self.manifest))

    @property
    def record(self) -> dict[str, Any]:
        """What the journal keeps, so that another command can say in what it differs."""
        options = options_of(self.policy) | {"manifest": str(self.manifest)}
        return {"lists": self._places, "options": options | ({"force": True} if self.is_forced else {})}

    @property
    def _places(self) -> list[str]:
        return [name if name == STANDARD_INPUT else os.path.abspath(name) for name in self.lists]

    @property
    def label(self) -> str:
        """Name the lists for people, without the folders they are in."""
        shown = ", ".join(
            "standard input" if name == STANDARD_INPUT else formatting.path(os.path.basename(name))
            for name in self.lists[:3]
        )
        return shown + (", ..." if len(self.lists) > 3 else "")


def new_job_id() -> str:
    """Return a unique id: the time for people, the rest at random."""
    return f"{time.strftime('%y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"


def prepare_folder(folder: Path, manifest: Path | None = None) -> Path:
    """Make sure that files and the manifest can be written; return the folder for the private state.

    Raises:
        FolderError: they cannot.
    """
    if manifest is not None:
        _refuse_place_of_a_body(manifest, folder)
        look_at(manifest)  # before anything is made
    state = folder / PRIVATE
    if state.is_symlink():
        raise FolderError(f"{state} is a symbolic link and was left alone; name another folder with -o.")
    try:
        state.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=state):
            pass
        os.listdir(folder)
    except (FileExistsError, NotADirectoryError):
        if folder.is_symlink() and not folder.exists():
            raise FolderError(
                f"The output folder {folder} is a link to {os.readlink(folder)}, which does not exist:"
                " create that folder, or name another with -o."
            ) from None
        wrong = state if folder.is_dir() else folder
        raise FolderError(f"{wrong} is not a folder; name an output folder with -o.") from None
    except OSError as error:
        if error.errno in FULL:
            raise FullDiskError(folder) from None
        raise FolderError(f"The output folder {folder} cannot be used: {in_words(error)}.") from None
    if manifest is not None and not manifest.parent.is_dir():
        raise FolderError(f"The manifest {manifest} cannot be written: there is no folder {manifest.parent}.")
    return state


def _refuse_place_of_a_body(manifest: Path, folder: Path) -> None:
    """Refuse a path that a body may be renamed over, or that is inside the private folder."""
    place = manifest.parent.resolve() / manifest.name
    within = folder.resolve()
    if not place.is_relative_to(within):
        return
    below = place.relative_to(within)
    if below.parts[:1] == (PRIVATE,):
        raise FolderError(f"The manifest {manifest} would be inside {PRIVATE}: name another with --manifest.")
    if is_output_path(below.as_posix()):
        raise FolderError(f"The manifest {manifest} has a name downloads have: name another with --manifest.")


def begin_or_resume(
    spec: JobSpec, lists: Lists, journal: Journal, echo: Callable[[str], None], give_up: Callable[[str], object]
) -> tuple[Lists, bool]:
    """Resume the job of the journal if it is this one, else begin it; return its lists at their position, and whether
    it was resumed.

    ``give_up`` is called with the id of an unfinished job that is not resumed: no one would collect its outcomes.

    Raises:
        InputError: standard input is not what the unfinished job was given.
    """
    unfinished = None if journal.fact("finished") else journal.job
    if unfinished is not None and not spec.is_fresh:
        if journal.fact("fingerprint") not in (spec.fingerprint, spec.earlier_fingerprint):
            has = difference(journal.fact("wish"), spec.record)
            echo(
                f"The unfinished job in this folder, {unfinished}, has {has}: it is cancelled and a new one starts."
                " Files already stored are kept."
            )
        elif restore_position(lists, journal):
            return lists, True
        elif STANDARD_INPUT in spec.lists:
            raise InputError(
                "Standard input is not the list of the unfinished job in this folder: pipe in the same list again,"
                " or start over with --fresh."
            )
        else:
            echo("The list has changed since the last run; starting over. Files already stored are kept.")
            lists.close()
            lists = Lists(spec.lists)
    if unfinished is not None:
        give_up(unfinished)
    begin(
        journal,
        new_job_id(),
        echo,
        fingerprint=spec.fingerprint,
        label=spec.label,
        manifest=spec.manifest,
        record=spec.record,
    )
    return lists, False


def restore_position(lists: Lists, journal: Journal) -> bool:
    """Read up to where the job was left, and restore the names not yet written; False: the lists have changed."""
    position = Position.from_record(journal.fact("position", {}))
    if journal.fact("sealed"):
        return lists.skip_to(position)
    if not lists.skip_to(Position.from_record(journal.written_until)):
        return False
    for chunk in lists.read_to(position):
        journal.mark_seen_again(names_in(chunk), chunk.position.to_record())
    return lists.position == position


def begin(
    journal: Journal,
    job: str,
    echo: Callable[[str], None],
    *,
    fingerprint: str,
    label: str,
    manifest: Path | None,
    record: Mapping[str, Any] | None = None,
) -> None:
    """Begin a job: rename the last one's manifest, and remember the files it stored."""
    if manifest is not None:
        _set_last_aside(manifest, journal, echo)
    journal.begin(job, manifest=manifest, fingerprint=fingerprint, label=label, offset=0, wish=record)


def remember_rest(journal: Journal) -> None:
    """Remember the stored files of a killed command's last rows, or of all of an earlier version's."""
    if path := journal.fact("manifest"):
        journal.files.set_path(path_of(path))
        _remember(path_of(path), journal, end=int(journal.fact("offset", 0)))  # what follows it is cut off


def _fact_of(manifest: Path) -> str:
    """Return the key of the fact that a manifest is indexed; SQLite accepts only UTF-8."""
    return f"known {os.fsencode(manifest.name).decode('utf-8', 'backslashreplace')}"


def _set_last_aside(manifest: Path, journal: Journal, echo: Callable[[str], None]) -> None:
    last = journal.job
    if last is not None:
        written = _last_manifest(manifest, last, journal)
        if written is not None and not journal.fact(_fact_of(written)):  # an earlier version's fact
            journal.files.set_path(written)
            _remember(written, journal)
        _mention_earlier(journal, echo)
    kept = set_aside(manifest, None)  # of another folder's job, or of one whose journal is gone
    if kept is not None:
        echo(f"{manifest} held another job's rows; they were moved to {kept}.")
    if last is None:
        # Manifests in this folder say what is stored.
        earlier = manifest.parent.glob(f"{glob.escape(manifest.stem)}-*{glob.escape(manifest.suffix)}")
        for path in sorted(earlier, key=lambda path: path.lstat().st_mtime):
            journal.files.begin(path)
            _remember(path, journal)


def _mention_earlier(journal: Journal, echo: Callable[[str], None]) -> None:
    sizes = [path.lstat().st_size for path in journal.files.manifests() if path.is_file()]
    if sum(sizes) >= _MENTIONED:
        echo(
            f"{len(sizes)} earlier manifests take {formatting.size(sum(sizes))}:"
            f" trawl gc -o {formatting.path(journal.folder.parent)} removes those whose files later ones vouch for."
        )


def _last_manifest(manifest: Path, last: str, journal: Journal) -> Path | None:
    recorded = journal.fact("manifest")
    written = path_of(recorded) if recorded else manifest
    try:
        return set_aside(written, last)
    except FolderError:
        return written  # not in the way, unless it is named again


def _remember(manifest: Path, journal: Journal, end: int | None = None) -> None:
    with closing(stored_rows(manifest, journal.files.remembered_until, end)) as rows:
        while some := list(islice(rows, _ROWS_AT_ONCE)):
            journal.files.remember(StoredRows(*zip(*some, strict=True)))
