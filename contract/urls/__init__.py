"""What may be asked for, and what it is called."""
