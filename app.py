"""Starts the page: `python app.py`, installed or not. Host and port: GRADIO_SERVER_NAME and GRADIO_SERVER_PORT.

With --public, or on a Hugging Face Space, many strangers may share it: each sees only what is theirs, within limits.
"""

import argparse

from playground.page import serve
from playground.settings import Settings

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The page of nano-llm.")
    parser.add_argument(
        "--public", action="store_true", default=Settings().public, help="for many visitors, who are strangers"
    )
    serve(Settings(public=parser.parse_args().public))
