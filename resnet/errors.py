"""Errors that end a run in one clear line."""


class UserError(Exception):
    """Something outside the program is not as it must be; the text names it, and the cure."""


class ConfigError(Exception):
    """A value in the configuration that cannot be; the text says what would be right."""


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop by signal `number` and has saved itself; the text says how to go on."""

    def __init__(self, number, message):
        super().__init__(message)
        self.number = number
