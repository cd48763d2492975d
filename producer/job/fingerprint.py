"""What makes two commands the same job: equal wishes, also where an earlier version wrote one of them down.

Unequal ones are told apart by the options that differ, so that what a person sees names them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from contract.records import wire
from contract.records.policy import JobPolicy

#: The fields of the policy in versions up to 31f4598, in their order and with their defaults.
_EARLIER_POLICY: dict[str, Any] = {
    "version": 1, "timeout": 300.0, "connect_timeout": 15.0, "slowest": 100, "slow_window": 30.0,
    "max_size": 10 * 1024**3, "attempts": 4, "first_wait": 0.5, "longest_wait": 30.0, "longest_retry_after": 120.0,
    "redirects": 10, "per_host": 0, "allow_nets": [], "deny_nets": [], "layout": "flat", "digest": "sha256",
    "sync": "batch", "splits": 1, "resume": False, "http3": False, "ipv4_only": False, "user_agent": "trawlnet",
    "batch_seconds": 60.0,
}  # fmt: skip

#: Options that are not called as what they set.
_OPTIONS = {
    "slowest": "min-speed",
    "slow_window": "min-speed-window",
    "allow_nets": "allow-net",
    "deny_nets": "deny-net",
    "ipv4_only": "ipv4",
    "connect_timeout": "timeout",
}


def fingerprint(places: Sequence[str], policy: JobPolicy, *rest: object) -> str:
    """Identify a wish by its lists, by what its policy has that is not the default, and by whatever else counts.

    What is left at its default is left out, so that a field more, or another default, makes no folder's job another.
    """
    return _digest([list(places), _chosen(policy), *rest])


def earlier_fingerprint(places: Sequence[str], policy: JobPolicy, *rest: object) -> str | None:
    """Return what a version until 31f4598 would have called this wish; None: it could not have had it."""
    chosen = _chosen(policy)
    if not chosen.keys() <= _EARLIER_POLICY.keys():
        return None
    return _digest([list(places), _EARLIER_POLICY | chosen, *rest])


def options_of(policy: JobPolicy) -> dict[str, Any]:
    """Return what a policy has that is not the default, by the options of the commands that say so."""
    chosen = json.loads(json.dumps(_chosen(policy)))  # as they are when they are read back
    return {_OPTIONS.get(name, name.replace("_", "-")): value for name, value in chosen.items()}


def difference(wish: Mapping[str, Any] | None, other: Mapping[str, Any]) -> str:
    """Say in which of lists and options two wishes differ, as far as that is known of the first."""
    if wish is None:  # an earlier version's
        return "another list or other options"
    theirs, ours = wish["options"], other["options"]
    changed = sorted(name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name))
    said = [] if wish["lists"] == other["lists"] else ["another list"]
    if changed:
        said.append(f"other options ({', '.join(f'--{name}' for name in changed)})")
    return " and ".join(said) or "other options"


def _chosen(policy: JobPolicy) -> dict[str, Any]:
    default = JobPolicy().to_wire()
    return {name: value for name, value in policy.to_wire().items() if value != default[name]}


def _digest(said: object) -> str:
    return hashlib.sha256(wire.to_json(said).encode("utf-8", "surrogatepass")).hexdigest()
