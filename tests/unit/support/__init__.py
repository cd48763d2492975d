"""Unit tests of the project's own tools and the tests' support."""
