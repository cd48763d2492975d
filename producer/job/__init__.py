"""One job on the producer's side: planned, fed, followed."""
