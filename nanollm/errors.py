"""What can go wrong without being a defect: one exception carries a sentence for the person in front of the screen."""


class InputError(ValueError):
    """What was asked for cannot be done; the message is one sentence that says what is wrong and what to do.

    Every public entry raises it for bad input, so that the command line and the page can show the message as it is.
    Any other exception is a defect of ours, and its text is never shown.
    """


class PeerLostError(Exception):
    """Another of the processes that train together has ended or fallen silent."""
