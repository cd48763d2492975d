"""Unit tests of URLs, names and addresses."""
