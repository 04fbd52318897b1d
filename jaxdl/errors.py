"""The one exception that a user's mistake raises."""


class UserError(ValueError):
    """A mistake that the user can mend.

    The message is one line: what is wrong, where, and the remedy. The command line prints it
    without a traceback and exits with status 2.
    """


class Diverged(UserError):
    """Training has come to numbers that are not finite."""
