"""Starts the page: `python app.py`, installed or not. Host and port: GRADIO_SERVER_NAME and GRADIO_SERVER_PORT."""

from playground.page import serve
from playground.settings import Settings

if __name__ == "__main__":
    serve(Settings())
