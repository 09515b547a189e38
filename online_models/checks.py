"""The laws that every learner keeps, each a function whose first line is the law.

``check_learner(make)`` runs them all; ``learners()`` finds every learner in :mod:`online_models.zoo` and
:mod:`online_models.counting`, so that a new file is tested the moment it lies there. How a class is built for the laws:
its ``make_for_checks()`` where it has one, else ``Ranker(Ranker.Config(...))`` or ``Learner(rows=...)`` with
:data:`SIZES`. A class that cannot keep a law says so in ``law_exceptions = {"graphs_agree": "the reason"}``.

>>> from online_models.zoo.biased_mf import BiasedMF
>>> check_rows_are_independent(BiasedMF.make_for_checks)
"""

from __future__ import annotations

import copy
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from types import ModuleType
from typing import Any

import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional as F

from online_models import state_tree
from online_models.batch import UNKNOWN, Batch, Candidates, Context, take
from online_models.learner import Graph, Learner, TorchLearner, seeded
from online_models.ranker import Ranker
from online_models.vocabulary import ACTIONS, QUERY_BUCKETS, QUERY_LENGTH, SURFACES

Make = Callable[[], Learner]
Law = Callable[[Make], None]
RoundTrip = Callable[[Any], Any]

TOLERANCE = 1e-5
PARITY_TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of everything in an example batch; learners under check are built for them."""

    rows: int = 64
    users: int = 32
    features: int = 5
    sources: int = 4
    item_features: int = 3


SIZES = Sizes()


def example_batch(seed: int = 0, examples: int = 8, candidates: int = 12, history: int = 10) -> Batch:
    """Random batch of the shapes in :data:`SIZES`: one positive each, some padding in every history.

    >>> batch = example_batch(seed=1, examples=3)
    >>> len(batch), batch.labels.sum(1).tolist(), bool((batch.context.history_items[:, :2] == 0).all())
    (3, [1.0, 1.0, 1.0], True)
    """
    draw = torch.Generator().manual_seed(seed)

    def integers(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, shape, generator=draw)

    lengths = integers(1, max(history - 1, 2), examples, 1)  # [B, 1]
    real = torch.arange(history) >= history - lengths  # [B, L]
    ages = torch.rand(examples, history, generator=draw).mul(1e5).sort(1, descending=True).values
    constant = torch.ones(examples, 1)
    items = torch.rand(examples, SIZES.rows - 2, generator=draw).argsort(1)[:, :candidates] + 2  # [B, N] distinct
    context = Context(
        history_items=integers(2, SIZES.rows, examples, history) * real,
        history_actions=integers(1, len(ACTIONS) + 1, examples, history) * real,
        history_ages_seconds=ages * real,
        features=torch.cat([constant, torch.randn(examples, SIZES.features - 1, generator=draw)], 1),
        surface=integers(0, len(SURFACES) + 1, examples),
        source_item=integers(2, SIZES.rows, examples) * integers(0, 2, examples),
        query=integers(0, QUERY_BUCKETS, examples, QUERY_LENGTH),
        time_seconds=1.7e9 + 60.0 * torch.arange(examples, dtype=torch.float64) + 3600.0 * seed,
        user=integers(0, SIZES.users, examples),
    )
    places = integers(0, items.shape[1], examples)
    return Batch(
        context=context,
        candidates=Candidates(
            items=items,
            source_scores=torch.rand(*items.shape, SIZES.sources, generator=draw).sub(0.3).clamp(min=0),
            features=torch.rand(*items.shape, SIZES.item_features, generator=draw),
        ),
        labels=F.one_hot(places, items.shape[1]).float(),
        log_q=torch.zeros(items.shape),
        weights=torch.ones(examples),
        actions=integers(1, len(ACTIONS) + 1, examples),
    )


def check_learn_lowers_loss(make: Make) -> None:
    """Learning the same batch again and again lowers its loss."""
    learner, batch = make(), example_batch(seed=1)
    losses = [learner.learn(batch)["loss"] for _ in range(30)]
    first, last = sum(losses[:3]), sum(losses[-3:])
    assert last < first, f"the loss went from {first / 3:.4f} to {last / 3:.4f} over 30 steps on one batch"


def check_score_is_pure(make: Make) -> None:
    """Scoring is repeatable and changes nothing: neither the state nor torch's random numbers."""
    learner, batch = _taught(make), example_batch(seed=5)
    before, random = learner.state_dict(), torch.get_rng_state()
    first, second = _score(learner, batch), _score(learner, batch)
    assert torch.equal(first, second), "two scorings of the same candidates differ"
    assert state_tree.equal(before, learner.state_dict()), "scoring has changed the state"
    assert torch.equal(random, torch.get_rng_state()), "scoring has drawn from torch's global generator"


def check_rows_are_independent(make: Make) -> None:
    """Every example's scores are independent of the other examples of the batch."""
    learner, batch = _taught(make), example_batch(seed=5)
    alone = torch.cat([_score(learner, take(batch, torch.tensor([row]))) for row in range(len(batch))])
    _assert_close(alone, _score(learner, batch), "scores alone and within the batch")


def check_candidate_order_is_free(make: Make) -> None:
    """Candidates in another order get the same scores, in that order."""
    learner, batch = _taught(make), example_batch(seed=5)
    order = torch.randperm(batch.labels.shape[1], generator=torch.Generator().manual_seed(3))
    shuffled = replace(batch, candidates=_each(batch.candidates, lambda value: value[:, order]))
    _assert_close(_score(learner, shuffled), _score(learner, batch)[:, order], "scores of reordered candidates")


def check_padding_changes_nothing(make: Make) -> None:
    """No padding, at the old end of the history or behind the candidates, changes a score."""
    learner, batch = _taught(make), example_batch(seed=5)
    real = batch.labels.shape[1]
    expected = _score(learner, batch)
    # the oldest two columns are padding in every example
    shorter = {f"history_{name}": getattr(batch.context, f"history_{name}")[:, 2:] for name in _HISTORY}
    trimmed = replace(batch, context=replace(batch.context, **shorter))
    _assert_close(_score(learner, trimmed), expected, "scores with a shorter padded history")
    _assert_close(_score(learner, _padded(batch))[:, :real], expected, "scores before padded candidates")


def check_padded_candidates_teach_nothing(make: Make) -> None:
    """Learning from a batch with padded candidates is learning from the batch without them."""
    plain, padded, batch, probe = make(), make(), example_batch(seed=1), example_batch(seed=5)
    for _ in range(3):
        plain.learn(batch)
        padded.learn(_padded(batch))
    _assert_close(_score(padded, probe), _score(plain, probe), "scores after learning with padded candidates", 1e-4)


def check_unseen_ids_score(make: Make) -> None:
    """Users, items and histories never seen score finite, before and after learning."""
    batch = example_batch(seed=6)
    empty = {f"history_{name}": torch.zeros_like(getattr(batch.context, f"history_{name}")) for name in _HISTORY}
    unknown = torch.full_like(batch.candidates.items, UNKNOWN)
    context = replace(batch.context, **empty, user=batch.context.user + 2**40)
    stranger = replace(batch, context=context, candidates=replace(batch.candidates, items=unknown))
    for learner in (make(), _taught(make)):
        assert torch.isfinite(_score(learner, batch)).all(), "an unseen item has a score that is not finite"
        assert torch.isfinite(_score(learner, stranger)).all(), "an unknown row has a score that is not finite"


def check_inputs_stay_untouched(make: Make) -> None:
    """Learning and scoring leave the batch as it was."""
    learner, batch = make(), example_batch(seed=1)
    before = copy.deepcopy(batch)
    learner.learn(batch)
    _score(learner, batch)
    for name, value in _tensors(before):
        assert torch.equal(value, dict(_tensors(batch))[name]), f"{name} of the batch has been changed"


def check_bad_numbers_do_no_harm(make: Make) -> None:
    """NaN features in one batch leave every later score finite."""
    learner, batch = _taught(make), example_batch(seed=2)
    spoilt = torch.full_like(batch.context.features, torch.nan)
    learner.learn(replace(batch, context=replace(batch.context, features=spoilt)))
    assert torch.isfinite(_score(learner, example_batch(seed=5))).all(), "NaN features have spoilt the learner"


def check_same_seed_same_weights(make: Make) -> None:
    """Two learners made alike and taught alike are alike in every bit."""
    assert state_tree.equal(make().state_dict(), make().state_dict()), "two new learners differ: seed them"
    assert state_tree.equal(_taught(make).state_dict(), _taught(make).state_dict()), "two taught learners differ"


def check_resume_is_exact(make: Make, round_trip: RoundTrip | None = None) -> None:
    """Resuming from bytes goes on exactly like never having stopped."""
    learner, resumed = _taught(make), make()
    resumed.load_state_dict((round_trip or _through_bytes)(learner.state_dict()))
    assert state_tree.equal(learner.state_dict(), resumed.state_dict()), "the resumed state differs"
    for seed in range(10, 13):
        plots = learner.learn(example_batch(seed)), resumed.learn(example_batch(seed))
        assert plots[0] == plots[1], f"after the resume learn() returned {plots[1]} instead of {plots[0]}"
    assert state_tree.equal(learner.state_dict(), resumed.state_dict()), "the states differ after three more steps"


def check_memory_is_bounded(make: Make) -> None:
    """Ten windows of new users and items take no more memory than five."""
    learner, sizes = make(), []
    for window in range(10):
        for step in range(6):
            batch = example_batch(seed=100 + 6 * window + step, examples=16)
            learner.learn(replace(batch, context=replace(batch.context, user=batch.context.user + 1000 * window)))
        sizes.append(state_tree.size_bytes(learner.state_dict()))
    assert sizes[9] <= 1.02 * sizes[4] + 256, f"state grew from {sizes[4]} to {sizes[9]} bytes between windows 5 and 10"


def check_graphs_agree(make: Make) -> None:
    """Every graph exports to ONNX with its dynamic axes and agrees with torch within 1e-4 in ONNX Runtime."""
    for name, graph in _taught(make).export().items():
        session = _session(graph)
        for size in (1, 2, 5):
            inputs = _resized(graph, size)
            expected = _as_tuple(graph.module(**inputs))
            names = [node.name for node in session.get_inputs()]
            given = session.run(list(graph.outputs), {key: inputs[key].numpy() for key in names})
            for output, left, right in zip(graph.outputs, expected, given, strict=True):
                what = f"{name}.{output} in torch and ONNX Runtime"
                _assert_close(torch.from_numpy(right), left.detach(), what, PARITY_TOLERANCE)


ALL_LAWS: dict[str, Law] = {
    name.removeprefix("check_"): law for name, law in list(globals().items()) if name.startswith("check_")
}


def check_learner(make: Make, exceptions: dict[str, str] | None = None) -> None:
    """Every law holds, but for those named in ``exceptions`` with their reason."""
    for name, law in ALL_LAWS.items():
        if name not in (exceptions or {}):
            law(make)


def learners() -> dict[str, tuple[Make, dict[str, str]]]:
    """Every learner of the zoo and of the counting ones: name -> (how to make it, law_exceptions).

    Raises
    ------
    ValueError
        A class excepts itself from a law that does not exist.
    """
    found: dict[str, tuple[Make, dict[str, str]]] = {}
    for cls in _classes("online_models.zoo", "online_models.counting"):
        exceptions = dict(getattr(cls, "law_exceptions", {}))
        unknown = set(exceptions) - set(ALL_LAWS)
        if unknown:
            raise ValueError(f"{cls.__name__}.law_exceptions names {sorted(unknown)}; the laws are {sorted(ALL_LAWS)}")
        found[cls.__name__] = (_maker(cls), exceptions)
    return found


_HISTORY = ("items", "actions", "ages_seconds")


def _maker(cls: type[Any]) -> Make:
    if hasattr(cls, "make_for_checks"):
        return cls.make_for_checks  # type: ignore[no-any-return]
    if not issubclass(cls, Ranker):
        return lambda: cls(rows=SIZES.rows)

    def make() -> Learner:
        sizes = {"features": SIZES.features, "sources": SIZES.sources, "item_features": SIZES.item_features}
        with seeded(7):
            return TorchLearner(cls(cls.Config(catalog_rows=SIZES.rows, **sizes)))  # type: ignore[attr-defined]

    return make


def _classes(*packages: str) -> Iterator[type[Any]]:
    """Public concrete learners and rankers, each where it is defined."""
    for package in map(importlib.import_module, packages):
        for module in _modules(package):
            for name, cls in inspect.getmembers(module, inspect.isclass):
                if cls.__module__ == module.__name__ and not name.startswith("_") and _is_concrete(cls):
                    yield cls


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        yield importlib.import_module(info.name)


def _is_concrete(cls: type[Any]) -> bool:
    """Whether a class is a ranker, or a learner that no other class is built on."""
    if getattr(cls, "_is_protocol", False) or cls.__subclasses__():
        return False
    return issubclass(cls, Ranker) or all(hasattr(cls, name) for name in ("learn", "score", "state_dict", "export"))


def _taught(make: Make) -> Learner:
    learner = make()
    for seed in range(1, 4):
        learner.learn(example_batch(seed))
    return learner


def _score(learner: Learner, batch: Batch) -> Tensor:
    return learner.score(batch.context, batch.candidates)  # [B, N]


def _each(candidates: Candidates, change: Callable[[Tensor], Tensor]) -> Candidates:
    return Candidates(**{field.name: change(getattr(candidates, field.name)) for field in fields(Candidates)})


def _padded(batch: Batch, extra: int = 3) -> Batch:
    """Append ``extra`` padded candidates. [B, N] -> [B, N + extra]."""

    def longer(value: Tensor) -> Tensor:
        return torch.cat([value, value.new_zeros(len(value), extra, *value.shape[2:])], 1)

    return replace(
        batch, candidates=_each(batch.candidates, longer), labels=longer(batch.labels), log_q=longer(batch.log_q)
    )


def _tensors(batch: Batch) -> Iterator[tuple[str, Tensor]]:
    for part in (batch, batch.context, batch.candidates):
        for field in fields(part):
            value = getattr(part, field.name)
            if isinstance(value, Tensor):
                yield field.name if part is batch else f"{type(part).__name__}.{field.name}", value


def _assert_close(given: Tensor, expected: Tensor, what: str, tolerance: float = TOLERANCE) -> None:
    difference = (given - expected).abs().max().item() if expected.numel() else 0.0
    assert torch.allclose(given, expected, atol=tolerance, rtol=tolerance), f"{what} differ by {difference:.2e}"


def _through_bytes(state: Any) -> Any:
    tensors, structure = state_tree.pack(state)
    raw = safetensors.torch.save({name: tensor.clone() for name, tensor in tensors.items()})
    return state_tree.unpack(safetensors.torch.load(raw), structure)


def _session(graph: Graph) -> Any:
    """Export a graph and open it in ONNX Runtime."""
    import onnxruntime

    assert not any(p.kind is p.VAR_KEYWORD for p in inspect.signature(graph.module.forward).parameters.values()), (
        f"{type(graph.module).__name__} takes **keywords, to which torch.export gives no dynamic axes; name each input"
    )
    program = torch.onnx.export(
        graph.module,
        kwargs=graph.inputs,
        dynamo=True,
        optimize=False,  # the optimiser renames the initializers that values are published into
        dynamic_shapes={name: graph.dynamic.get(name) for name in graph.inputs},
        output_names=list(graph.outputs),
        verbose=False,
    )
    assert program is not None
    return onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])


def _resized(graph: Graph, size: int) -> dict[str, Tensor]:
    """Resize every dynamic axis to ``size``: integers repeat the example's, floats are drawn from [0, 1)."""
    draw, resized = torch.Generator().manual_seed(size), {}
    for name, value in graph.inputs.items():
        for axis in graph.dynamic.get(name, {}):
            value = value.index_select(axis, torch.arange(size) % value.shape[axis])
        resized[name] = torch.rand(value.shape, generator=draw) if value.dtype == torch.float32 else value
    return resized


def _as_tuple(outputs: Any) -> tuple[Tensor, ...]:
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
