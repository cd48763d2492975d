"""What the producer and the worker agree on; imports neither side."""
