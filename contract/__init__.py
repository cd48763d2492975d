"""What the producer and the worker agree on; imports neither side."""

__version__ = "0.1.0"
