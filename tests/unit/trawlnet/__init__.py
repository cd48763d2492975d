"""Unit tests of what scripts import."""
