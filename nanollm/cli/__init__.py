"""The command line: one module per command, plus argument lookup, progress bars and exit statuses."""
