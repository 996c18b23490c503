"""The errors SpecRef raises on purpose. Each message names the value, what was expected and how to mend it."""


class SpecRefError(Exception):
    """Base of every error raised on purpose; the command line prints it without a traceback.

    A message may quote what a user's generator wrote. Lone surrogates in it, which no terminal and no xdist worker can
    send on, are spelled as escapes.
    """

    def __str__(self) -> str:
        return super().__str__().encode("utf-8", "backslashreplace").decode("utf-8")


class InputError(SpecRefError, ValueError):
    """A value, file or option given by the user cannot be used."""


class GeneratorError(SpecRefError):
    """A user's generator broke its contract; the message names the generator as the culprit."""


class CheckpointError(SpecRefError):
    """A model or tokenizer directory is incomplete, damaged or of another architecture."""


class LedgerError(SpecRefError):
    """A ledger cannot be read or written; the file is left as it was found."""
