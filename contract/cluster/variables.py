"""The names of Trawlnet's environment variables, and hints about mistyped ones."""

from __future__ import annotations

import re
from collections.abc import Mapping

_PREFIX = "TRAWL_"

#: The names without the prefix; docs/configuration.md has a row for each, deploy/env.example the last three.
_NAMES = (
    *("BROKER_URL", "RESULT_BACKEND", "REDIS_PASSWORD_FILE", "REDIS_CA_FILE", "BROKER_OPTIONS", "BACKEND_OPTIONS"),
    *(
        "QUEUE",
        "QUEUE_TYPE",
        "PREFIX",
        "LEASE",
        "KEEP",
        "OUTPUT",
        "LANES",
        "TRANSFERS",
        "DRAIN",
        "MIN_FREE",
        "WORKER_DENY_NETS",
    ),
    *("OWN_SERVICES", "EGRESS_PROXY", "EGRESS_LOGIN_FILE", "CA_FILE", "METRICS", "HEARTBEAT_FILE"),
    *("ALLOW_NETS", "DENY_NETS"),
    *("IMAGE", "LISTS", "SECRETS"),
)

VARIABLES = frozenset(_PREFIX + name for name in _NAMES)

# Set by Kubernetes for a service called trawl or trawl-...
_SERVICE_LINK = re.compile(r"TRAWL_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_[0-9]+_\w+)?)")

_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def hints(environment: Mapping[str, str]) -> list[str]:
    """Return a sentence for each variable that is ignored because its name is mistyped."""
    return [_hint(name) for name in sorted(environment) if _looks_like_ours(name) and environment[name].strip()]


def _looks_like_ours(name: str) -> bool:
    return name.upper().startswith(_PREFIX) and name not in VARIABLES and not _SERVICE_LINK.fullmatch(name)


def _hint(name: str) -> str:
    from difflib import get_close_matches  # here, because hardly any command needs it

    near = get_close_matches(name.upper().removeprefix(_PREFIX), _NAMES, n=1)
    hint = f"did you mean {_PREFIX}{near[0]}?" if near else "docs/configuration.md lists them all."
    return f"{name[:60]} is not a Trawlnet setting: {hint}"


def ignored_proxies(environment: Mapping[str, str]) -> str:
    """Return a sentence if the usual proxy variables are set, which are ignored; else an empty one."""
    named = [name for name in _PROXIES if environment.get(name, "").strip()]
    if not named or environment.get("TRAWL_EGRESS_PROXY", "").strip():
        return ""
    verb = "is" if len(named) == 1 else "are"
    return (
        f"{', '.join(named)} {verb} set and ignored: TRAWL_EGRESS_PROXY=http://host:port names a proxy to go through."
    )
