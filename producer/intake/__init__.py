"""Turns lists of URLs into entries, and entries into batches."""
