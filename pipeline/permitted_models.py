"""The models of a catalogue as somebody sees them who may not have all."""

from collections.abc import Callable

from pipeline.catalogue import Catalogue
from pipeline.errors import Forbidden
from pipeline.versions import Versions


class PermittedModels(Catalogue):
    """Names only what is permitted; whether anything else is there is not told."""

    def __init__(self, catalogue: Catalogue, is_permitted: Callable[[str], bool]) -> None:
        """`is_permitted` is asked whenever a model is, by its name."""
        super().__init__()
        self._catalogue = catalogue
        self._is_permitted = is_permitted

    def __repr__(self) -> str:
        return f"<PermittedModels of {self._catalogue!r}>"

    def _sorted(self) -> list[Versions]:
        return [versions for versions in self._catalogue._sorted() if self._is_permitted(versions.name)]

    def _versions_of(self, name: str) -> Versions:
        if not self._is_permitted(name):
            raise Forbidden(f"model: the credential's scopes do not allow {name[:128]!r}")
        return self._catalogue._versions_of(name)
