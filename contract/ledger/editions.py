"""The ledger's scripts, and the edition of the keys they run on: this one's, or the first one's.

Jobs begun in the first edition (until 31f4598) are finished under its keys, by the same scripts:
docs/decisions/0015-an-edition-has-keys-of-its-own.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import redis

from contract.ledger.keys import Keys
from contract.ledger.values import EARLIER, EDITION

_REMEMBERED = 1000  # jobs whose edition is cached


class Editions:
    """Runs the scripts, and knows the edition of each job."""

    def __init__(self, client: redis.Redis, prefix: str, queue: Sequence[str] = ()) -> None:
        self.keys = Keys(f"{prefix}{EDITION}:")
        self.earlier = Keys(prefix)  # of the first edition
        self._known: dict[str, Keys] = {}  # by job
        self._queue = tuple(queue)
        self._redis = client
        self._scripts = {name: client.register_script(text) for name, text in texts().items()}

    def keys_of(self, job: str) -> Keys:
        """Return the keys of a job's edition; of this edition if Redis does not know the job."""
        keys = self._known.get(job)
        if keys is None:
            keys = self.earlier if self._redis.exists(self.earlier.job(job)) else self.keys
            self._remember(job, keys)
        return keys

    def _remember(self, job: str, keys: Keys) -> None:
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[job] = keys

    def others(self, keys: Keys) -> Keys:
        """Return the keys of the other edition; both share the queue, so its messages count for both."""
        return self.earlier if keys is self.keys else self.keys

    def edition_of(self, keys: Keys) -> int:
        return EDITION if keys is self.keys else EARLIER

    def keys_at(self, edition: int) -> Keys:
        return self.keys if edition == EDITION else self.earlier

    def now(self) -> float:
        """Return Redis's clock in Unix seconds."""
        whole, micro = self._redis.time()
        return whole + micro / 1e6

    def call(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Run one of the scripts in ``contract/ledger/lua``."""
        return self._scripts[script](keys=list(keys), args=list(arguments))


@cache
def texts() -> dict[str, str]:
    """Return the scripts' texts by name."""
    folder = files("contract.ledger") / "lua"
    return {
        entry.name.removesuffix(".lua"): entry.read_text("utf-8")
        for entry in folder.iterdir()
        if entry.name.endswith(".lua")
    }
