"""Errors for the person who can mend them."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def in_words(message: str) -> str:
    """What a validator of ours has said, by the message that pydantic makes of it."""
    return message.removeprefix("Value error, ")


class UserError(Exception):
    """A mistake that its reader can mend: one line that says what is wrong, where, and what to do.

    Scripts print the message without a traceback and exit with status 2.
    """


@contextmanager
def told_to_the_user() -> Iterator[None]:
    """Around a script's work: a `UserError` or a full disk becomes one line on stderr and exit status 2."""
    try:
        yield
    except UserError as error:
        _tell(str(error))
    except Exception as error:
        if not is_full_disk(error):
            raise
        _tell(f"the disk is full ({error}). Free some space and run the same command again: it goes on.")


def is_full_disk(error: Exception) -> bool:
    """Whether a write failed for want of space; libraries wrap the error but keep its words."""
    return any(os.strerror(number) in str(error) for number in (errno.ENOSPC, errno.EDQUOT))


def _tell(text: str) -> None:
    print(f"error: {text}", file=sys.stderr)
    raise SystemExit(2) from None
