"""Real neighbours for tests: servers that misbehave on purpose, and the processes the product talks to."""
