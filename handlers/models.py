"""`GET /v1/models[/{model}[/versions/{version}]]`: what is served, and what it takes."""

from typing import Final

from msgspec import Struct

from handlers.base import JsonHandler
from pipeline.messages import ModelInfo


class Models(Struct):
    """Every model, broken ones with the reason."""

    models: list[ModelInfo]


PARAMETERS: Final = frozenset(("version",))


class ModelsHandler(JsonHandler):
    """All models, one, or one version of it; `?version=` takes a label too."""

    def get(self, name: str | None = None, version: str | None = None) -> None:
        """Describe them; 404 where there is no such model or version."""
        repository = self.models
        if name is None:
            self.query(frozenset())
            self.reply(Models(repository.describe_all()))
            return
        if version is None:
            version = self.query(PARAMETERS).get("version")
        self.reply(repository.describe(name, version))
