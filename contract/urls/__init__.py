"""Which URLs may be fetched, and the name of each."""
