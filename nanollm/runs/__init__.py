"""Training as folders and processes: a run is a folder, a worker process writes it, everybody else only reads it.

folder.py names its files, liveness.py tells a living worker from a dead one, record.py reads one run, reader.py finds
them, store.py makes, names and deletes them, launcher.py starts and stops workers, worker.py is the process that
trains. Only training.py and ranks.py, which a worker imports when it owns its run, need torch.
"""
