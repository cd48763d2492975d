"""Fuzzing: ``python -m tests.fuzz TARGET --seconds N`` searches for inputs that break a rule; the corpus keeps them."""
