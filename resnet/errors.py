"""Errors that end a run in one clear line."""


class UserError(Exception):
    """Something outside the program is not as it must be; the text names it, and the cure."""
