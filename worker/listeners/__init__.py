"""What becomes of events: rows in Flower, numbers for Prometheus, snapshots for followers, lines in the log."""
