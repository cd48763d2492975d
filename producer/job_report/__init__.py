"""What a manifest adds up to, for people to look at: a page without network, or a few lines of text."""
