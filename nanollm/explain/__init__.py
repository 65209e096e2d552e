"""Interpretability: functions from (model, text) to arrays. Drawing them is up to nanollm.charts and the playground."""
