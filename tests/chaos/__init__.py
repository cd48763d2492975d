"""Chaos: the system as real processes, killed, frozen and cut off at random while every outcome is checked.

``python -m tests.chaos --kills 60`` kills until sixty kills are spent; ``--scenario NAME`` plays one story.
"""
