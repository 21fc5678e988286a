"""Algorithms from outside the package: an advantage, a loss, or a whole set of settings, from a function or a class.

An advantage is ``(rewards [G]) -> advantages [G]`` of one group, or ``(groups of rewards, baselines) -> groups of
advantages``. A loss is ``(logprobs [n], entropy [n], view) -> loss per token [n]``, or that with statistics by name, in
torch; ``view`` is a ``TokenView``. Both are tried on a few numbers before a run begins.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from aha import plugins
from aha.hints import nearest
from aha.training.advantages import ADVANTAGES, Advantage, Rewards
from aha.training.policy import Loss
from aha.types import AhaError

_log = logging.getLogger(__name__)
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
TRIAL = (np.array([1.0, 0.0, 0.5, 0.0]), np.array([0.0, 1.0]))


def own_advantage(name: str) -> Advantage:
    """One's own advantage. Raises AhaError for an unknown name, and for one that does not work."""
    if not plugins.is_reference(name):
        hint = plugins.of_file(name) or nearest(name, ADVANTAGES)
        raise AhaError(f"Unknown advantage '{name}'. {hint} One of your own is FILE.py:NAME.")
    return _over_groups(name)


def _over_groups(name: str) -> Advantage:
    function, where = _function(name), _where(name)
    needed = _needed(function)
    seen: set[str] = set()

    def one(rewards: np.ndarray) -> np.ndarray:
        """Advantages of a group, NaN where the reward has none; all NaN where the function gave nothing."""
        try:
            values = _checked(
                plugins.call(function, rewards.copy(), file=_file(function)), len(rewards), where
            )
        except plugins.CallFailed as error:
            _say(seen, name, str(error))
            return np.full(len(rewards), np.nan)
        return np.where(np.isnan(rewards), np.nan, values)

    def whole(rewards: Rewards, baselines: np.ndarray | None) -> list[np.ndarray]:
        try:
            copies = [np.array(r, np.float64) for r in rewards]
            groups = _groups(plugins.call(function, copies, baselines, file=_file(function)), where)
            if len(groups) != len(rewards):
                raise plugins.CallFailed(f"{where}: gave {len(groups)} groups for {len(rewards)}")
            checked = [_checked(a, len(r), where) for a, r in zip(groups, rewards, strict=True)]
        except plugins.CallFailed as error:
            _say(seen, name, str(error))
            return [np.full(len(r), np.nan) for r in rewards]
        return [np.where(np.isnan(r), np.nan, a) for a, r in zip(checked, rewards, strict=True)]

    def all_groups(rewards: Rewards, baselines: np.ndarray | None = None) -> list[np.ndarray]:
        if needed >= 2:
            return whole(rewards, baselines)
        return [one(np.asarray(r, np.float64)) for r in rewards]

    return all_groups


def _groups(result: Any, where: str) -> list[Any]:
    """Groups of advantages. Raises CallFailed for what is no list."""
    try:
        return plugins.call(plugins.numbers, result)
    except plugins.CallFailed as error:
        raise plugins.CallFailed(f"{where}: {error}") from error


def _checked(result: Any, n: int, where: str) -> np.ndarray:
    """Advantages [n]. Raises CallFailed for another shape, and for no numbers."""
    try:
        values = np.asarray(result.detach().cpu() if hasattr(result, "detach") else result, np.float64)
    except Exception as error:  # other libraries' arrays raise what they like
        raise plugins.CallFailed(f"{where}: gave {type(result).__name__}, no numbers") from error
    if values.shape != (n,):
        raise plugins.CallFailed(f"{where}: gave advantages of shape {values.shape} for {n} rewards")
    return np.where(np.isinf(values), np.nan, values)


def own_loss(name: str) -> Callable[..., Any]:
    """A loss of one's own, as ``policy_loss`` takes it: (logprobs, entropy, view) -> (loss [n], statistics).

    Raises AhaError for what is no function of them, and while training, with the line, where it fails: without a loss
    nothing can be learned.
    """
    import torch

    function, where = _function(name), _where(name)
    needed = _needed(function)

    def loss(logprobs: Any, entropy: Any, view: Any) -> tuple[Any, dict[str, Any]]:
        arguments = (logprobs, entropy, view) if needed >= 3 else (logprobs, view)
        try:
            result = function(*arguments)
        except Exception as error:
            raise AhaError(
                f"The loss '{name}' failed: {plugins.location(error, _file(function))}."
            ) from error
        values, stats = result if isinstance(result, tuple) and len(result) == 2 else (result, {})
        if not isinstance(values, torch.Tensor) or values.shape != logprobs.shape:
            raise AhaError(
                f"The loss '{name}' ({where}) gave {_shape(values)}; it must give one number for each of the "
                f"{len(logprobs)} tokens, in torch, or that and statistics by name."
            )
        return values, _statistics(stats, values.detach(), f"The loss '{name}' ({where})")

    return loss


def _statistics(stats: Any, tokens: Any, loss: str) -> dict[str, Any]:
    """Statistics by name as tensors [n], a single number being that of every token. Raises AhaError for all else."""
    if not isinstance(stats, Mapping):
        raise AhaError(f"{loss} gave {type(stats).__name__} as its statistics: give a dict.")
    by_name = {}
    for key, value in stats.items():
        one = plugins.number(value)
        if one is not None:
            by_name[str(key)] = tokens.new_full(tokens.shape, one)
        elif getattr(value, "shape", None) == tokens.shape and hasattr(value, "detach"):
            by_name[str(key)] = value
        else:
            said = f"gave {_shape(value)} as the statistic '{key}'"
            raise AhaError(f"{loss} {said}: give a number, or one for each token.")
    return by_name


def check(advantage: str, loss: Callable[[], Loss]) -> None:
    """Try an algorithm's own parts on a few numbers. Raises AhaError, with file and line, where they fail."""
    if plugins.is_reference(advantage):
        function = _function(advantage)
        try:
            whole = _needed(function) >= 2
            results = plugins.call(
                function, *([list(TRIAL), None] if whole else [TRIAL[0]]), file=_file(function)
            )
            listed = _groups(results, _where(advantage)) if whole else [results]
            if whole and len(listed) != len(TRIAL):
                raise plugins.CallFailed(f"{_where(advantage)}: gave {len(listed)} groups for {len(TRIAL)}")
            for values, rewards in zip(listed, TRIAL, strict=False):
                checked = _checked(values, len(rewards), _where(advantage))
                if np.isnan(checked).all():
                    raise plugins.CallFailed(
                        f"{_where(advantage)}: gave no number for rewards of {rewards.tolist()}"
                    )
        except plugins.CallFailed as error:
            raise AhaError(f"The advantage '{advantage}' does not work: {error}.") from error
    _try(loss)


def _try(make: Callable[[], Loss]) -> None:
    import torch

    from aha.training.policy import TokenView

    loss = make()
    ones = torch.ones(3)
    logprobs = torch.full((3,), -1.0, requires_grad=True)
    view = TokenView(ones, ones, torch.full((3,), -1.1), torch.full((3,), -1.2), torch.tensor([0, 0, 1]))
    values, _ = loss(logprobs, ones, view)
    if not bool(torch.isfinite(values).all()) or not values.requires_grad:
        raise AhaError("The algorithm's own loss has no gradient, or is no finite number, for plain numbers.")


# --- whole algorithms -----------------------------------------------------------------------------------------------


def own_preset(name: str) -> dict[str, Any] | type:
    """What ``algorithm=file.py:name`` stands for: settings, a subclass of ``Algorithm``, or an advantage alone.

    Raises AhaError for anything else.
    """
    part = plugins.resolve(name)
    options = plugins.options(name, plugins.reference(name).options)
    if isinstance(part, Mapping):
        own = {str(key): plugins.reference_to(v) if callable(v) else v for key, v in part.items()}
        return own | options
    if inspect.isclass(part):
        return part
    if callable(part):
        return {"advantage": name}
    raise AhaError(
        f"The algorithm '{name}' is {type(part).__name__}: give a dict of settings, a subclass of Algorithm, or a "
        "function from rewards to advantages."
    )


def _function(name: str) -> Callable[..., Any]:
    part = plugins.resolve(name)
    if not callable(part):
        raise AhaError(f"'{name}' is {type(part).__name__}, no function.")
    options = plugins.options(name, plugins.reference(name).options)
    return partial(part, **options) if options else part


def _needed(function: Callable[..., Any]) -> int:
    kinds = inspect.signature(function).parameters.values()
    return sum(p.kind in _POSITIONAL and p.default is p.empty for p in kinds)


def _file(function: Any) -> str:
    while isinstance(function, partial):
        function = function.func
    code = getattr(function, "__code__", None)
    return code.co_filename if code is not None else ""


def _where(name: str) -> str:
    function: Any = _function(name)
    while isinstance(function, partial):
        function = function.func
    code = getattr(function, "__code__", None)
    return name if code is None else f"{code.co_filename.rpartition('/')[2]}:{code.co_firstlineno}"


def _shape(values: Any) -> str:
    shape = getattr(values, "shape", None)
    return type(values).__name__ if shape is None else f"{type(values).__name__} of shape {tuple(shape)}"


def _say(seen: set[str], name: str, text: str) -> None:
    if text not in seen and len(seen) < 20:
        seen.add(text)
        _log.warning("The advantage %s: %s. Such groups are not trained on.", plugins.label(name), text)
