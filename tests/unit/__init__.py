"""Tests of code that decides: no sockets, no disk, no clock."""
