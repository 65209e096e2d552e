// value: the catalogue's rows, or {changed}: those of the rows that are others than before; null until the server has
// answered for the first time.
watch("value", () => {
  const { value } = props;
  const changed = new Map((value?.changed || []).map((row) => [row.id, row]));
  window.nano.publish(value?.changed ? window.nano.runs().map((row) => changed.get(row.id) || row) : value);
});
