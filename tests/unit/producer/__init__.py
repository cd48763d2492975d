"""Unit tests of the producer."""
