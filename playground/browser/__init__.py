"""What the page's scripts share: stores, frames, formatting, constants from Python, and how they are served."""
