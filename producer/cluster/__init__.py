"""Connects to broker and Redis, including those that a run starts itself."""
