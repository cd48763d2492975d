"""Unit tests of how the cluster is reached."""
