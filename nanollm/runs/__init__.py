"""Training as folders and processes: a run is a folder, a worker process writes it, everybody else only reads it.

folder.py names its files, liveness.py tells a living worker from a dead one, record.py reads one run, store.py finds
and makes them, launcher.py starts and stops workers, worker.py is the process that trains. Only worker.py needs torch.
"""
