"""What can go wrong, told apart by whose fault it is."""

from tiling.address import redacted


class TilegateError(Exception):
    """Root of every error tilegate raises on purpose; its text is meant for the person at the keyboard.

    It ends up in logs, reports and tables, so addresses in it lose their passwords and signatures here.
    """

    def __init__(self, *args: object) -> None:
        """args: as of any exception."""
        super().__init__(*(redacted(arg) if isinstance(arg, str) else arg for arg in args))


class BadInput(TilegateError, ValueError):
    """The caller's fault: a wrong argument, recipe, model or image. The command line exits with 2."""


class BadData(TilegateError, OSError):
    """The disk's or the network's fault: these pixels cannot be read. Their tile becomes `unreadable`."""


class NeedsApproval(TilegateError):
    """Nobody's fault: the expensive step would cost more than was agreed, and waits. The command line exits with 4."""
