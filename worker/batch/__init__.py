"""A claimed batch in a worker: its lease, its run, its report."""
