"""Unit tests of the way to the cluster."""
