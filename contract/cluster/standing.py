"""What a worker whose disk takes no files says in its log; an embedded run shows it to the person at the terminal."""

from __future__ import annotations

NOT_TAKING_WORK = "Not taking work: "
TAKING_WORK_AGAIN = "Taking work again."
