"""The time that a stream may take, as its caller has set it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from agent.gateway.errors import Refused

LONGEST = 300.0  # seconds that a reply may take, or a stream to its first sound, where no caller names any: the most that one may name


async def timely(pieces: AsyncGenerator[bytes, None], timeout: float | None) -> AsyncGenerator[bytes, None]:
    """The same pieces. ``timeout``: seconds from now to the last of them; None: as long as the first comes within :data:`LONGEST`.

    Raises :exc:`Refused`, and the stream is closed, when they are over.
    """
    end = asyncio.get_running_loop().time() + (timeout or LONGEST)
    count = 0
    async with aclosing(pieces):
        while True:
            try:
                async with asyncio.timeout_at(end if timeout or not count else None):
                    piece = await anext(pieces)
            except StopAsyncIteration:
                return
            except TimeoutError:
                words = f"there was no sound within {timeout or LONGEST:g} s" if not count else f"it was not ready within {timeout:g} s"
                raise Refused("timeout", words, 504) from None
            count += 1
            yield piece
