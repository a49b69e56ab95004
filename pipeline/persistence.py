"""Work that goes on whatever happens to the backbone."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

from pipeline.backbone import BackboneDown, BackboneFull
from pipeline.backoff import Backoff

log = logging.getLogger(__name__)

FIRST: Final = 0.2  # seconds
LONGEST: Final = 3.0
LONGEST_FULL: Final = 0.5  # as soon as somebody takes something out there is room again


async def persist(step: Callable[[], Awaitable[None]], what: str) -> NoReturn:
    """Repeat a step; after a failure wait, up to twice as long each time, with full jitter. A loss is told once."""
    backoff = Backoff(FIRST, LONGEST)
    while True:
        try:
            await step()
        except (BackboneDown, BackboneFull) as error:
            if not backoff.failures:
                log.warning("%s: waiting for the backbone: %s", what, error)
            longest = LONGEST if isinstance(error, BackboneDown) else LONGEST_FULL
        except Exception:
            longest = LONGEST
            log.exception("%s: failed, and goes on", what)
        else:
            backoff.reset()
            continue
        await asyncio.sleep(backoff.next(longest))
