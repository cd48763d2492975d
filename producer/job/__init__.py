"""One job's life on the producer's side: planned, fed, followed."""
