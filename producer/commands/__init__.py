"""One command of trawl each, from options to what is shown."""
