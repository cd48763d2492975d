"""Unit tests of journal and manifest."""
