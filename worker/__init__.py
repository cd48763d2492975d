"""The Celery side of Trawlnet: it runs the batches a producer enqueued."""

from contract.streams import fill_gaps

fill_gaps()  # before any module of a worker opens a file
