"""Unit tests of records and their wire forms."""
