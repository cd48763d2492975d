"""Unit tests of the HTTP adapter, without libcurl."""
