"""Unit tests of split bodies."""
