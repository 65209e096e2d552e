"""Exceptions of nano-llm. InputError carries a message for the user."""


class InputError(ValueError):
    """A request cannot be fulfilled; the message tells the user what is wrong and how to fix it.

    All public functions raise it for invalid input. The command line and the page show its message unchanged; any other
    exception is a bug, and its text is not shown.
    """


class PeerLostError(Exception):
    """Another process of a distributed training has ended or does not respond."""
