"""One suite per port: what `worker.engine.ports` promises, held by whatever keeps the port."""
