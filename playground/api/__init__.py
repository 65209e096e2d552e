"""Public API endpoints."""
