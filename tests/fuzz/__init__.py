"""Inputs nobody thought of: ``python -m tests.fuzz TARGET --seconds N`` looks for them, the corpus keeps them."""
