"""Displays for people: a job while it runs, and its summary."""
