"""Fingerprints decide whether two commands are the same job, even if an earlier version recorded one of them.

If they are not, ``difference`` names the options that differ.
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

#: Fields of the policy whose option has another name.
_OPTIONS = {
    "slowest": "min-speed",
    "slow_window": "min-speed-window",
    "allow_nets": "allow-net",
    "deny_nets": "deny-net",
    "ipv4_only": "ipv4",
    "connect_timeout": "timeout",
}


def fingerprint(places: Sequence[str], policy: JobPolicy, *rest: object) -> str:
    """Identify a job by its lists, its policy and ``rest``.

    Defaults of the policy are left out, so that new fields and new defaults do not change the fingerprint.
    """
    return _digest([list(places), _chosen(policy), *rest])


def earlier_fingerprint(places: Sequence[str], policy: JobPolicy, *rest: object) -> str | None:
    """Return the fingerprint as of versions until 31f4598; None: they lacked one of the options."""
    chosen = _chosen(policy)
    if not chosen.keys() <= _EARLIER_POLICY.keys():
        return None
    return _digest([list(places), _EARLIER_POLICY | chosen, *rest])


def options_of(policy: JobPolicy) -> dict[str, Any]:
    """Return the values of a policy that are not defaults, by the names of their options."""
    chosen = json.loads(json.dumps(_chosen(policy)))  # as they are read back from the journal
    return {_OPTIONS.get(name, name.replace("_", "-")): value for name, value in chosen.items()}


def difference(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str:
    """Say how two jobs' lists and options differ; ``before`` is None if an earlier version did not record its own."""
    if before is None:  # an earlier version's
        return "another list or other options"
    theirs, ours = before["options"], now["options"]
    changed = sorted(name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name))
    said = [] if before["lists"] == now["lists"] else ["another list"]
    if changed:
        said.append(f"other options ({', '.join(f'--{name}' for name in changed)})")
    return " and ".join(said) or "other options"


def _chosen(policy: JobPolicy) -> dict[str, Any]:
    default = JobPolicy().to_wire()
    return {name: value for name, value in policy.to_wire().items() if value != default[name]}


def _digest(said: object) -> str:
    return hashlib.sha256(wire.to_json(said).encode("utf-8", "surrogatepass")).hexdigest()
