"""One network in several folds of a study: recipes that differ in the fold that tests them, and in nothing else.

With a network for every fold each patient is tested once, by a network that did not learn from that patient. How far
these networks are off tells how far the one is off that is used (cross-validation; cross-conformal prediction where
intervals are made of it: Vovk 2015, Annals of Mathematics and Artificial Intelligence 74).
"""

from __future__ import annotations

from covidpipe.config import Config, Recipe, Roles
from covidpipe.registry import deciding_tasks


def deciding_roles(config: Config, modality: str) -> dict[str, str]:
    """Task -> network, for those that percentages of a modality depend on."""
    roles = config.models.get(modality, Roles())  # type: ignore[call-overload]
    return {task: wanted for task in deciding_tasks(modality) if (wanted := getattr(roles, task)) is not None}


def folds_of(config: Config, name: str) -> dict[int, str]:
    """The recipes of a study that train the network `name` in one fold or another, by fold; itself among them.

    Parameters
    ----------
    config : Config
    name : str
        A name under `training`.

    Returns
    -------
    dict of int to str
    """
    wanted = _without_fold(config.training[name])
    found = {recipe.fold: other for other, recipe in config.training.items() if _without_fold(recipe) == wanted}
    return dict(sorted(found.items()))


def _without_fold(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"fold": 0})


def in_folds(config: Config, modality: str) -> list[Config]:
    """The config itself, then with the networks that decide about percentages exchanged for those of another fold.

    Parameters
    ----------
    config : Config
    modality : {"ct", "xr"}

    Returns
    -------
    list of Config
        One for each fold, in order, that the study trains all of these networks in; the config's own first.
    """
    roles = deciding_roles(config, modality)
    if not roles or not set(roles.values()) <= set(config.training):
        return [config]
    folds = {task: folds_of(config, name) for task, name in roles.items()}
    own = {config.training[name].fold for name in roles.values()}
    shared = set.intersection(*map(set, folds.values())) - own
    others = [{task: by_fold[fold] for task, by_fold in folds.items()} for fold in sorted(shared)]
    return [config, *(_exchanged(config, modality, roles) for roles in others)]


def _exchanged(config: Config, modality: str, roles: dict[str, str]) -> Config:
    models = {name: of.model_copy(update=roles) if name == modality else of for name, of in config.models.items()}
    return config.model_copy(update={"models": models})
