"""Unit tests of a claimed batch."""
