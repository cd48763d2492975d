"""Touches the world for the engine: network, disk, names, time; none of these modules knows another."""
