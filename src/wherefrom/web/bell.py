"""A notification that something changed, for tasks that wait for changes."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Bell:
    """Counts notifications.  Read `rings` before the state, so that no change is missed."""

    def __init__(self) -> None:
        self.rings = 0
        self._rung = asyncio.Condition()

    async def ring(self) -> None:
        """Wake every waiting task."""
        async with self._rung:
            self.rings += 1
            self._rung.notify_all()

    async def wait(self, seen: int, seconds: float) -> None:
        """Until it rang more than `seen` times, or the time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._rung:
                await self._rung.wait_for(lambda: self.rings > seen)
