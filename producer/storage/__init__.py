"""What the producer stores on disk: journal and manifest."""
