"""Starts the page: `python app.py`, installed or not. Host and port: GRADIO_SERVER_NAME and GRADIO_SERVER_PORT.

With --public, or on a Hugging Face Space, many visitors share the page: each sees only their own runs and texts, and
limits apply.
"""

import argparse

from playground.page import serve
from playground.settings import Settings

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Start the nano-llm page.")
    parser.add_argument(
        "--public",
        action="store_true",
        default=Settings().public,
        help="share the page among visitors: private runs and texts, limits",
    )
    serve(Settings(public=parser.parse_args().public))
