"""Unit tests of what HTTP says."""
