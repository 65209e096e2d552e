"""Services behind the page: models, catalogue, frames, inspections, background jobs, streaming."""
