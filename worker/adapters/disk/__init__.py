"""The output folder: temporary files that become named files, whole and durable, or nothing."""

from worker.adapters.disk.folder import OutputFolder, is_passing, trouble_at

__all__ = ["OutputFolder", "is_passing", "trouble_at"]
