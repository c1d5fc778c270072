"""Why rows cannot be stored, as clients are told it."""

from typing import Final

from collector.refusal import (
    QUEUE_FULL,
    SHUTTING_DOWN,
    STORAGE_UNAVAILABLE,
    Kind,
    Refusal,
)
from storage import Closed, QueueFull, StorageError

# A full queue drains in well under a second; a full or failing disk takes an operator.
_RETRY_AFTER_S: Final = {QUEUE_FULL: 1, STORAGE_UNAVAILABLE: 10, SHUTTING_DOWN: 5}


def unavailable(error: StorageError) -> Refusal:
    """The refusal that `error` means for events that wait to be stored."""
    kind: Kind
    if isinstance(error, QueueFull):
        kind, message = QUEUE_FULL, "too many events are waiting to be written"
    elif isinstance(error, Closed):
        kind, message = SHUTTING_DOWN, "the collector is stopping"
    else:
        kind, message = STORAGE_UNAVAILABLE, "events cannot be stored at present"
    return Refusal(kind, message, retry_after_s=_RETRY_AFTER_S[kind])
