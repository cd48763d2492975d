"""Unit tests of the settings and transports both sides share."""
