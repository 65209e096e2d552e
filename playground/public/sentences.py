"""What public mode and the request filter tell the user."""

from playground.services.sentences import BUSY as BUSY
from playground.services.sentences import TOO_MANY_REQUESTS as TOO_MANY_REQUESTS

CANCELLED = "This request was cancelled."

NOT_FOUND = "Nothing exists at this address."
TOO_LARGE = "This request is too large. Upload large texts as a file."
TOO_FAST = "Too many requests in a short time. Wait a moment, then try again."
BAD_REQUEST = "The request is malformed."
CROSS_SITE = "Requests from other sites are not allowed."

NO_VISITOR = "This browser sent no visitor token, so nothing can be stored for it. Reload the page."
VIEW_ONLY = "This run belongs to someone else. You can view it but not change it."
TEXT_NOT_FOUND = "This text no longer exists. Upload it again, or choose another one."
TEXT_IS_SHARED = "This text is shared by all visitors and cannot be changed."
TEXT_NOT_YOURS = "This text is not in your list. Only the visitor who added it can change it."
TEXT_IN_USE = "The run {run!r} uses this text. Stop or delete that run first."
MAX_RUNS = "You have {count} runs, the maximum here. Delete one first."
MAX_TEXTS = "You have {count} texts, the maximum here. Delete one first."
ALREADY_QUEUED = "One of your runs is already in the queue. Wait until it starts, or stop it."
