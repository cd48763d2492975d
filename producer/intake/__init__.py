"""Lists of URLs become entries, and entries batches."""
