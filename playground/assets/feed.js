// value: the catalogue's rows; null until the server has answered for the first time.
watch("value", () => window.nano.publish(props.value));
