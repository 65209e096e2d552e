"""The page: everything that uses Gradio. It only calls public functions of `nanollm`.

Gradio reads these environment variables when it is first imported: no telemetry, no Hub requests, no proxy for local
requests, and no statistics. Gradio would keep the last 10,000 events for a dashboard that this page does not have, and
process all of them after each event.
"""

import os

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["GRADIO_ANALYTICS_MAX_EVENTS"] = "1"
os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = str(10**12)  # events from one summary to the next
if "SPACE_ID" not in os.environ:
    os.environ["HF_HUB_OFFLINE"] = "1"
for _name in ("NO_PROXY", "no_proxy"):
    _hosts = [host for host in os.environ.get(_name, "").split(",") if host]
    os.environ[_name] = ",".join(dict.fromkeys([*_hosts, "localhost", "127.0.0.1", "::1"]))
