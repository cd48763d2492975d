"""Which batches are open, who holds each, and what happens to lost ones."""
