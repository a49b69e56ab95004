"""An ensemble as a model that sessions see, made of the models that serve its steps."""

from collections.abc import Callable
from pathlib import Path

from pipeline.alert_config import check_alerts
from pipeline.ensemble import Ensemble
from pipeline.ensemble_plan import plan_ensemble
from pipeline.errors import ConfigError, WaterspoutError
from pipeline.graph_spec import check_class_names
from pipeline.messages import StepInfo
from pipeline.model_config import ModelConfig
from pipeline.served_model import ServedModel

Find = Callable[[str, str | None], ServedModel]


class StepUnavailable(ConfigError):
    """Nothing serves a step now."""


def serve_ensemble(name: str, version: str, config: ModelConfig, path: Path, find: Find) -> ServedModel:
    """Return the ensemble of a configuration; `path` is its file, `find` is `Repository.get`.

    The models that serve the steps now are its own until it is closed. Raises `ConfigError` with file, key and reason.
    """
    try:
        models = find_steps(config, find)
        plan = plan_ensemble(config, [model.spec for model in models])
        outputs = plan.spec.outputs
        labels = {}
        for tensor, (step, at) in zip(outputs, plan.sources, strict=True):
            model = models[step]
            if names := model.labels.get(model.spec.outputs[at].name):
                labels[tensor.name] = names
        check_class_names(config.labels, outputs)
        labels |= config.labels
        check_alerts(config.alert, outputs, labels)
    except ConfigError as error:
        raise type(error)(f"{path}: {error}") from error
    engine = Ensemble(plan, models, labels)
    return ServedModel(
        name,
        version,
        config,
        plan.spec,
        engine,
        max_batch_size=engine.max_batch_size,
        max_queue_size=engine.max_queue_size,
        labels=labels,
        steps=[StepInfo(model.name, model.version) for model in models],
    )


def find_steps(config: ModelConfig, find: Find) -> list[ServedModel]:
    """Return what serves the steps of a configuration now. Raises `StepUnavailable` that names the key."""
    assert config.ensemble_scheduling is not None
    models = []
    for at, step in enumerate(config.ensemble_scheduling.step):
        try:
            models.append(find(step.model_name, step.version))
        except WaterspoutError as error:
            raise StepUnavailable(f"ensemble_scheduling.step[{at}]: {error}") from error
    return models
