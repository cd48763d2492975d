"""Unit tests of what the ledger decides without Redis."""
