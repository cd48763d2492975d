"""Unit tests of a job's life."""
