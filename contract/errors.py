"""Errors that users can cause or fix; each class has a stable code."""

from __future__ import annotations

from typing import Self


class TrawlError(Exception):
    """Base of all errors raised on purpose; ``str()`` is a sentence that says what to do."""

    code = "error"


class SettingError(TrawlError):
    """A setting, option or environment variable has an invalid value."""

    code = "setting"


class InputError(TrawlError):
    """A list of URLs cannot be read, or is empty."""

    code = "input"


class FolderError(TrawlError):
    """The output or cache folder cannot be used."""

    code = "folder"


class ServiceError(TrawlError):
    """The broker, the result backend or a program we start cannot be reached or used."""

    code = "service"


class MessageError(TrawlError):
    """A message or record has a shape or version that this side does not understand."""

    code = "message"


class UnknownJobError(TrawlError):
    """The ledger knows no job with that id."""

    code = "unknown-job"

    @classmethod
    def of(cls, job: str) -> Self:
        return cls(f"No job {job} is known on this cluster.")


class JobStateError(TrawlError):
    """The job's state does not allow the request."""

    code = "job-state"


class CancelledJobError(JobStateError):
    """The job was cancelled meanwhile: no more batches of it are opened."""

    code = "cancelled-job"


class AccountingError(TrawlError):
    """The outcomes of a job do not add up to its input lines: a bug, with its own exit code."""

    code = "accounting"
