"""HTTP semantics, without I/O: headers, cookies, redirects, ranges, retries and the verdict."""
