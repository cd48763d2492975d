"""One real neighbour at a time: a misbehaving server, a real Redis, a real Celery worker."""
