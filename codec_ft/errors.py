"""Errors for the person who can mend them."""


class UserError(Exception):
    """A mistake that its reader can mend: one line that says what is wrong, where, and what to do.

    Scripts print the message without a traceback and exit with status 2.
    """
