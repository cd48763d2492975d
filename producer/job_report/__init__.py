"""Sums up a manifest for people: as a self-contained page, or as a few lines of text."""
