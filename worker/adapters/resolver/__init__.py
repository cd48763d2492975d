"""Resolves host names: many questions to the name servers at once, the system's resolver for the rest."""

from worker.adapters.resolver.configuration import is_overruled
from worker.adapters.resolver.name_servers import NameServers
from worker.adapters.resolver.resolver import FRESH, FRESH_FAULT, SystemResolver
from worker.adapters.resolver.system import AT_ONCE, look_up_addresses

MOST_THREADS = AT_ONCE + 1  #: threads that resolving names may use at once

__all__ = ["FRESH", "FRESH_FAULT", "MOST_THREADS", "NameServers", "SystemResolver", "is_overruled", "look_up_addresses"]
