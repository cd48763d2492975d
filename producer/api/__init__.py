"""What scripts use: a client, jobs and futures."""
