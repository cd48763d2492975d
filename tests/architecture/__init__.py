"""Tests of the shape: layers hold, modules are small and named, documents are complete, the lock agrees."""
