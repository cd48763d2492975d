"""Decides how URLs are fetched; touches no socket, disk, broker or clock."""
