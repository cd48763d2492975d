"""HTTP/2 and HTTP/3 against real servers."""
