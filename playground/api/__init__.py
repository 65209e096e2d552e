"""The public API: endpoints for gradio_client and curl."""
