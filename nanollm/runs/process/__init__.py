"""Worker processes: launching, control requests, liveness, the training itself, distributed ranks."""
