"""Runs: one folder each; only the worker that trains a run writes its metrics and checkpoints.

run_files.py names the files, record.py reads one run, reader.py finds all of them, store.py creates, renames and
deletes them. process/ starts, controls and monitors the workers; transfer/ exports and imports runs. Only
process/training.py and process/ranks.py, which a worker imports after it has locked its run, need torch.
"""
