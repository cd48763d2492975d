"""Turn events into rows in Flower, metrics for Prometheus, snapshots for followers and lines in the log."""
