"""Unit tests of what becomes of events."""
