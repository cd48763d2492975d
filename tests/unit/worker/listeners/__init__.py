"""Unit tests of what happens with events."""
