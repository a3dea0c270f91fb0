"""The one exception for mistakes that a person can mend."""


class HeadscriptError(Exception):
    """Something asked for cannot be done; the message says in one sentence why and what to do.

    The command line prints the message and exits with code 2; nothing half-written is left behind.
    """
