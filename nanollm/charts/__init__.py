"""Charts as plain Plotly figure dictionaries, built from arrays. Only write_html() and plotly_js() need plotly."""
