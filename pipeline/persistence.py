"""Work that goes on whatever happens to the backbone."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

from pipeline.backbone import BackboneDown, BackboneFull

log = logging.getLogger(__name__)

SHORTEST: Final = 0.1  # seconds
LONGEST: Final = 3.0
LONGEST_FULL: Final = 0.5  # as soon as somebody takes something out there is room again


async def persist(step: Callable[[], Awaitable[None]], what: str) -> NoReturn:
    """Repeat a step; after a failure wait, up to twice as long each time, with full jitter. A loss is told once."""
    failures = 0
    while True:
        try:
            await step()
        except (BackboneDown, BackboneFull) as error:
            if not failures:
                log.warning("%s: waiting for the backbone: %s", what, error)
            longest = LONGEST if isinstance(error, BackboneDown) else LONGEST_FULL
        except Exception:
            longest = LONGEST
            log.exception("%s: failed, and goes on", what)
        else:
            failures = 0
            continue
        failures += 1
        await asyncio.sleep(random.uniform(0, min(longest, SHORTEST * 2 ** min(failures, 10))))  # noqa: S311
