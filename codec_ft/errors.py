"""Errors for the person who can mend them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A mistake that its reader can mend: one line that says what is wrong, where, and what to do.

    Scripts print the message without a traceback and exit with status 2.
    """


@contextmanager
def told_to_the_user() -> Iterator[None]:
    """Around a script's work: a `UserError` becomes one line on stderr and exit status 2."""
    try:
        yield
    except UserError as error:
        text = str(error)
        if "Original Traceback" in text:  # it comes from a process that reads data, wrapped by torch
            text = text.rstrip().rsplit("\n", 1)[-1].partition(": ")[2]
        print(f"error: {text}", file=sys.stderr)
        raise SystemExit(2) from None
