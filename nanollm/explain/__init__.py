"""Looking inside a model: functions from (model, text) to arrays, drawn elsewhere."""
