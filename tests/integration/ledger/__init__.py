"""The ledger against a real Redis: its methods one by one, what a loss does to it, and random histories of a job."""
