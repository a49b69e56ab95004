"""`GET /v1/models[/{model}]`: what is served, and what it takes."""

from msgspec import Struct

from handlers.base import JsonHandler
from pipeline.messages import ModelInfo


class Models(Struct):
    """Every model, broken ones with the reason."""

    models: list[ModelInfo]


class ModelsHandler(JsonHandler):
    """All models, or one."""

    def get(self, name: str | None = None) -> None:
        """Describe them; 404 where there is no such model."""
        repository = self.state.repository
        self.reply(Models(repository.describe_all()) if name is None else repository.describe(name))
