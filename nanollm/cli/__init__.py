"""The command line: `python -m nanollm`."""
