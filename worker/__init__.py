"""The Celery side of Trawlnet: runs the batches that producers enqueue."""

from contract.streams import fill_gaps

fill_gaps()  # before any module of a worker opens a file
