"""Unit tests of what people see."""
