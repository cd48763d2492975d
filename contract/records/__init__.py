"""What is sent and stored, as values with a wire form."""
