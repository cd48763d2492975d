"""The output folder: temporary files that become named files, whole and durable, or nothing."""

from worker.adapters.disk.folder import OutputFolder

__all__ = ["OutputFolder"]
