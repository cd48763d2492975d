"""Large bodies fetched in several ranges at once."""
