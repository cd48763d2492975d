"""Row W: a list as the web is, with many names, many hosts and many fates, and its score."""
