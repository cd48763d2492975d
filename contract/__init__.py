"""What producer and worker share; imports neither."""

__version__ = "0.1.0"
