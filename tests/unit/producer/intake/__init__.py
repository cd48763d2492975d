"""Unit tests of reading and batching lists."""
