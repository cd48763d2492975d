"""Unit tests of what scripts use."""
