"""The mistakes a person can make, each a class with one sentence and a stable code."""

from __future__ import annotations

from typing import Self


class TrawlError(Exception):
    """Base of everything we raise on purpose; ``str()`` is one sentence that says what to do."""

    code = "error"


class SettingError(TrawlError):
    """A setting, option or environment variable has a value that cannot be used."""

    code = "setting"


class InputError(TrawlError):
    """A list of URLs cannot be read or holds nothing to do."""

    code = "input"


class FolderError(TrawlError):
    """The output or cache folder cannot be used."""

    code = "folder"


class ServiceError(TrawlError):
    """The broker, the result backend or a program we start cannot be reached or used."""

    code = "service"


class MessageError(TrawlError):
    """A message or record is not of a shape or version this side understands."""

    code = "message"


class UnknownJobError(TrawlError):
    """No job of that id is known to the ledger."""

    code = "unknown-job"

    @classmethod
    def of(cls, job: str) -> Self:
        return cls(f"No job {job} is known on this cluster.")


class JobStateError(TrawlError):
    """A job is in a state in which what was asked for cannot be done."""

    code = "job-state"


class CancelledJobError(JobStateError):
    """A job was cancelled meanwhile: nothing more of it is opened."""

    code = "cancelled-job"


class AccountingError(TrawlError):
    """The outcomes of a job do not add up to its input lines: a bug, told with its own exit code."""

    code = "accounting"
