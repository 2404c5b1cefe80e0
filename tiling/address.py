"""What of an address may be shown: signed URLs and passwords open the door to whoever reads a report or a log."""

from __future__ import annotations

import logging
import re
from urllib.parse import parse_qs, unquote, urlsplit

_URL = re.compile(
    r"""(?:(?<![a-z0-9+.-])[a-z][a-z0-9+.-]{0,20}://|/vsi\w{1,20}\?|https?%3a%2f%2f)(?:(?!,[a-z]\w*://)[^\s"<>])*""",
    re.IGNORECASE,
)
"""A URL inside a text, GDAL's /vsicurl?… or an encoded URL; of several joined by commas, one."""
_USER = re.compile(r"://[^/?#]*@")
_REST = re.compile(r"[?#].*", re.DOTALL)
_CLOSING = ".,:;)]}'"
"""Behind a URL these belong to the sentence, not to its query."""
_KEYS = (
    "X-(?:Amz|Goog)-(?:Signature|Credential|Security-Token)",
    "AWS_(?:SECRET_ACCESS_KEY|SESSION_TOKEN)",
    "sig",
    "signature",
    "token",
    "access_token",
)
_SECRET = re.compile(rf"(?<![\w-])({'|'.join(_KEYS)})=[^\s&\"<>]+", re.IGNORECASE)


def is_remote(uri: str) -> bool:
    """True for URLs and GDAL's virtual file systems."""
    return uri.startswith("/vsi") or len(urlsplit(uri).scheme) > 1


def public(uri: str) -> str:
    """An address without user, password, query and fragment. Local paths stay as they are: `a?b.tif` is a file name.

    GDAL's `/vsicurl?url=…&header.Authorization=…` becomes `/vsicurl/` and the address in it.
    """
    prefix, _, options = uri.partition("?")
    if re.fullmatch(r"/vsi\w+", prefix):
        return f"{prefix}/{public(parse_qs(options).get('url', [''])[0])}"
    if "://" not in uri and not uri.startswith("/vsi"):
        return uri
    return _USER.sub("://", _REST.sub("", uri))


def redacted(text: str) -> str:
    """The text with every URL in it made public and the values of signatures, tokens and keys blotted out."""
    return _SECRET.sub(r"\1=***", _URL.sub(_shown, text))


def _shown(found: re.Match[str]) -> str:
    token = found[0]
    address = public(unquote(token) if "://" not in token and not token.startswith("/vsi") else token)
    closing = token[len(token.rstrip(_CLOSING)) :]
    return address.rstrip(_CLOSING) + closing


class Redacting(logging.Filter):
    """Lets every record through, with its message and traceback redacted; belongs on handlers, not on loggers."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always True."""
        try:
            text = record.getMessage()
        except (TypeError, ValueError):  # arguments that do not fit: the handler would print them all
            text = str(record.msg)
        record.msg, record.args = redacted(text), ()
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redacted(record.exc_text)
        return True
