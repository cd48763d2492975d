"""Unit tests of adapters, without what they adapt."""
