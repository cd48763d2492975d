"""The way to broker and Redis, also to those a run starts itself."""
