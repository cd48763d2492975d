"""I/O for the engine: network, disk, names, time. None of these modules imports another."""
