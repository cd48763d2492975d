"""Unit tests of the settings and transports that both sides share."""
