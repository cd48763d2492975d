"""Items to schedule, and what a schedule starts of them."""

from __future__ import annotations

from dataclasses import dataclass

from worker.engine.queues import Tier
from worker.engine.schedule import Schedule


@dataclass(frozen=True)
class Item:
    host_key: str
    number: int = 0
    per_host: int = 0
    is_under_way: bool = False
    tier: Tier = Tier.FIRST


def start_all(schedule: Schedule[Item]) -> list[Item]:
    """Start and return all that may start now."""
    items = []
    while (item := schedule.pop()) is not None:
        items.append(item)
    return items
