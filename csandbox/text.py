"""Text that the guest wrote, made safe to show."""

from __future__ import annotations

from codecs import getincrementaldecoder

# Ranges of code points that steer a terminal, reorder a line or cannot be
# seen.  U+200C and U+200D stay: Persian, Indic scripts and emoji need them.
_ACTIVE = (
    (0x00, 0x08),  # C0 without tab and newline
    (0x0B, 0x1F),
    (0x7F, 0x9F),  # DEL and C1, which holds an 8-bit CSI
    (0xAD, 0xAD),  # soft hyphen
    (0x061C, 0x061C),  # Arabic letter mark
    (0x180E, 0x180E),  # Mongolian vowel separator
    (0x200B, 0x200B),  # zero width space
    (0x200E, 0x200F),  # left-to-right and right-to-left marks
    (0x2028, 0x202E),  # line and paragraph separators, bidi embeddings
    (0x2060, 0x206F),  # invisible operators, bidi isolates
    (0xFEFF, 0xFEFF),  # byte order mark
    (0xFFF9, 0xFFFB),  # interlinear annotations
    (0x1BCA0, 0x1BCA3),  # shorthand format controls
    (0x1D173, 0x1D17A),  # musical format controls
    (0xE0000, 0xE007F),  # tags
)


def _escape(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


ESCAPES = {
    code: _escape(code)
    for first, last in _ACTIVE
    for code in range(first, last + 1)
}


def inert(text: str) -> str:
    r"""Return `text` with every active character written as an escape.

    Active are terminal controls, bidirectional and other invisible format
    controls, and lone surrogates; they come out as ``\x1b`` or ``\u202e``.
    Newline, tab and a carriage return before a newline stay.  Applying it
    twice changes nothing more.
    """
    # No active character is printable, and this look is much the faster.
    if text.replace("\n", "").replace("\t", "").isprintable():
        return text
    # In UTF-8, only a lone surrogate cannot be encoded.
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    lines = text.split("\r\n")
    return "\r\n".join([line.translate(ESCAPES) for line in lines])


class Inert:
    """Decodes one stream of UTF-8 bytes, chunk by chunk, for showing.

    A character split over two chunks is put together, bytes that are not
    UTF-8 become U+FFFD, and unless `raw` the text is made inert.
    """

    def __init__(self, *, raw: bool = False) -> None:
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._raw = raw
        self._held = ""

    def feed(self, chunk: bytes, *, final: bool = False) -> str:
        """Return the text that `chunk` completes; with `final`, all of it."""
        text = self._decoder.decode(chunk, final)
        if self._raw:
            return text
        text = self._held + text
        # Whether a carriage return is active depends on what follows it.
        self._held = "\r" if text.endswith("\r") and not final else ""
        return inert(text[:-1] if self._held else text)

    def finish(self) -> str:
        """Return what an incomplete end of the stream still held back."""
        return self.feed(b"", final=True)
