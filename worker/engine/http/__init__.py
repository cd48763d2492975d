"""What HTTP says: headers, redirects, ranges, retries and the verdict."""
