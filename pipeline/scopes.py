"""What a credential allows: `predict:<model glob>`, `watch:<topic glob>` and `admin`; only `*` is special.

    predict:activity*        events for the models activity, activity-v2, ...
    watch:*/sensor-*         the predictions of any model for keys that begin with sensor-
    watch:$stats, watch:*    the server's own figures; everything
    admin                    all of it, and the operators' doors

A topic is `{model}/{key}`, and a glob of topics has both parts: a `*` before the slash does not reach behind it.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple, Self

from pipeline.topics import matches

MAX_SCOPES: Final = 256
MAX_LENGTH: Final = 512  # characters of one
_ANYTHING: Final = "\0"  # stands for a `*` that is asked for: no granted glob has it, so only a `*` covers it


class _TopicGlob(NamedTuple):
    """A granted glob of topics."""

    model: list[str]
    key: list[str] | None  # None: one of the server's own topics, or `*` for all there is

    def has_keys_of(self, model: str) -> bool:
        """Return whether any key of a model is granted."""
        return matches(self.model, model) if self.key is not None else self.model == ["", ""]

    def covers(self, pattern: str) -> bool:
        """Return whether everything that a pattern fits is granted."""
        if self.key is None:
            return self.model == ["", ""] or pattern == self.model[0]
        model, slash, key = pattern.replace("*", _ANYTHING).partition("/")
        return bool(slash) and matches(self.model, model) and matches(self.key, key)


class Scopes:
    """A set of scopes. It never changes."""

    __slots__ = ("_models", "_topics", "is_admin", "texts")

    def __init__(self, texts: Iterable[str]) -> None:
        """Read them. Raises `ValueError` that names the one that is none."""
        self.texts: Final = tuple(dict.fromkeys(texts))
        self.is_admin: Final = "admin" in self.texts
        self._models: list[list[str]] = []
        self._topics: list[_TopicGlob] = []
        if len(self.texts) > MAX_SCOPES:
            raise ValueError(f"more than {MAX_SCOPES} scopes")
        for text in self.texts:
            self._add(text)

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Self:
        """Return the scopes of a list. Raises `ValueError` that names the one that is none."""
        return cls(texts)

    def __repr__(self) -> str:
        return f"<Scopes {' '.join(self.texts) or 'none'}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scopes) and set(self.texts) == set(other.texts)

    def __hash__(self) -> int:
        return hash(frozenset(self.texts))

    def may_predict(self, model: str) -> bool:
        """Return whether events may be sent to a model."""
        return self.is_admin or any(matches(parts, model) for parts in self._models)

    def may_see(self, model: str) -> bool:
        """Return whether a model is any of theirs: they may predict with it, or watch some of its keys."""
        return self.may_predict(model) or any(topics.has_keys_of(model) for topics in self._topics)

    def may_watch(self, pattern: str) -> bool:
        """Return whether all that a subscription's pattern fits may be watched."""
        return self.is_admin or any(topics.covers(pattern) for topics in self._topics)

    def _add(self, text: str) -> None:
        kind, _, glob = text.partition(":")
        if len(text) > MAX_LENGTH or not text.isprintable():
            raise ValueError(f"scope {text[:40]!r}...: expected at most {MAX_LENGTH} printable characters")
        if kind == "predict" and glob:
            self._models.append(glob.split("*"))
        elif kind == "watch" and glob:
            self._topics.append(_topic_glob(text, glob))
        elif text != "admin":
            raise ValueError(
                f"scope {text[:100]!r}: expected predict:<model>, watch:<model>/<key> or admin; * stands for anything"
            )


def _topic_glob(text: str, glob: str) -> _TopicGlob:
    model, slash, key = glob.partition("/")
    if glob == "*" or (glob.startswith("$") and not slash and "*" not in glob):
        return _TopicGlob(glob.split("*"), None)
    if not slash or not model or not key or model.startswith("$"):
        raise ValueError(f"scope {text[:100]!r}: expected watch:<model>/<key>, watch:$stats, watch:$alerts or watch:*")
    return _TopicGlob(model.split("*"), key.split("*"))


EVERYTHING: Final = Scopes(["admin"])
NOTHING: Final = Scopes([])
