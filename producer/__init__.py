"""Turns lists of URLs into jobs and follows them."""
