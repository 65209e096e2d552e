"""Runs that travel: zip archives and the Hugging Face Hub."""
