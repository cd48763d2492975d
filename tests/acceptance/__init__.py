"""Tests of the composed system through its command line."""
