"""What travels and is kept, as values with a wire form."""
