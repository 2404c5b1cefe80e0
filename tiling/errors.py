"""What can go wrong, told apart by whose fault it is."""


class TilegateError(Exception):
    """Root of every error tilegate raises on purpose; its text is meant for the person at the keyboard."""


class BadInput(TilegateError, ValueError):
    """The caller's fault: a wrong argument, recipe, model or image. The command line exits with 2."""


class BadData(TilegateError, OSError):
    """The disk's or the network's fault: these pixels cannot be read. Their tile becomes `unreadable`."""
