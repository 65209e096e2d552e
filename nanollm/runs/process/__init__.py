"""The process that trains a run: launching, control requests, liveness, distributed ranks."""
