"""The race: Trawlnet beside the other downloaders, on one machine, in one run."""
