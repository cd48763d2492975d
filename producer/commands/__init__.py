"""The commands of trawl, one module each: from options to what is shown."""
