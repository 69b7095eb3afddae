"""Bodies that are packed (`Content-Encoding`), and never hold more than a body may have."""

from __future__ import annotations

import zlib

from homeostat.errors import InvalidRequest, TooLarge

ENCODING = "content-encoding"
# Window sizes as zlib takes them: of gzip (RFC 1952), and of the zlib format, which "deflate" means (RFC 9110).
WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


def unpacked(content: bytes, encoding: str, most_bytes: int) -> bytes:
    """A body without its `Content-Encoding`, never more than so many bytes of it.

    Raises `InvalidRequest` where it is packed in another way or is not whole, `TooLarge` where it holds more.

    >>> unpacked(zlib.compress(b"{}"), "deflate", 100)
    b'{}'
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return content
    if encoding not in WINDOWS:
        raise InvalidRequest("Content-Encoding is one of gzip and deflate, or left out.")
    unpacker = zlib.decompressobj(WINDOWS[encoding])
    try:
        # One byte more tells what is too long from what just fits.
        found = unpacker.decompress(content, most_bytes + 1)
    except zlib.error:
        raise InvalidRequest(f"The body can't be unpacked: it is no {encoding}.") from None
    if len(found) > most_bytes:
        raise TooLarge(
            f"The body unpacks to more than {most_bytes:,} bytes, which is what this server takes. Send it in parts.",
            most_bytes=most_bytes,
        )
    if not unpacker.eof or unpacker.unused_data:
        raise InvalidRequest(f"The body can't be unpacked: it is no whole {encoding}, or something follows it.")
    return found
