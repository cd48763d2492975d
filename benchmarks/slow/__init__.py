"""Lists that are slow in part: what the slow part costs the rest, each measured against the same list without it."""
