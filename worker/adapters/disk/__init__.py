"""The output folder: temporary files that become complete, durable files, or nothing."""

from worker.adapters.disk.folder import OutputFolder, is_passing, trouble_at
from worker.adapters.disk.space import label_of
from worker.adapters.disk.store import FolderStore

__all__ = ["FolderStore", "OutputFolder", "is_passing", "label_of", "trouble_at"]
