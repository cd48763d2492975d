"""The Celery side of Trawlnet: it runs the batches a producer enqueued."""
