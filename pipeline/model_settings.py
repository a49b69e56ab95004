"""Settings: which models are served."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, CliPositionalArg


class ModelSettings(BaseSettings):
    """The repository and what is loaded of it (docs/models.md)."""

    model: CliPositionalArg[Path | None] = Field(None, description="serve one .onnx file under its stem")
    models: Path = Field(Path("models"), description="model repository: DIR/<name>/<version>/model.onnx")
    model_control: Literal["none", "poll", "explicit"] = Field(
        "none", description="what is loaded: what is there at the start, what comes and goes, or only load_models"
    )
    load_models: list[str] = Field([], description="with explicit control: models to load at the start (repeatable)")

    @model_validator(mode="after")
    def _check_models(self) -> Self:
        if self.load_models and self.model_control != "explicit":
            raise ValueError("load_models: needs model_control explicit")
        if self.model is not None and self.model_control == "explicit":
            raise ValueError("model_control: a single model is loaded in any case")
        return self
