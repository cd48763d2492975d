"""Unit tests of the resolver: messages and configuration, no socket."""
