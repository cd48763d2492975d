"""What stays on the producer's disk: journal and manifest."""
