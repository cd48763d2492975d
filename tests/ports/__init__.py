"""One suite per port: what `worker.engine.ports` promises, run against every implementation."""
