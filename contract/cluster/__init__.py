"""How both sides reach broker and Redis in the same way."""
