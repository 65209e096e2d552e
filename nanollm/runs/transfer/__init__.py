"""Export and import of runs: zip archives and the Hugging Face Hub."""
