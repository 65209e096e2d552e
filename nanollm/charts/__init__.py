"""Plotly figures as plain dictionaries, built from arrays; only `write_html` imports plotly."""
