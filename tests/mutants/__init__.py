"""Guards that are removed: each removal must make a test fail, or the test guards nothing.

``python -m tests.mutants`` tries all, ``python -m tests.mutants close.lua`` those whose file or line holds the word.
Every module of this package that has ``GUARDS`` is asked.
"""
