"""Training the transformer autoencoder with JAX, and exporting it to ONNX.

Sixty minute bars go in; three encoder and three decoder blocks of eight heads give them back (Vaswani et
al., "Attention Is All You Need", 2017). The newest bar is hidden from the encoder, so that what it is given
back as is what the bars before it let expect: a network that sees the bar learns to copy it, and then misses
its fall. Training hides some other bars, too. Adam with exponential decay, mean squared error of what a bar
can tell, early stopping on validation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.transformer_graph import Block, Layer, graph_of
from operators.bar_windows import COLUMNS, WINDOW
from tapewatch.records import Array, Floats

WIDTH, HEADS, BLOCKS, HIDDEN, CODE = 32, 8, 3, 64, 16
STEPS, BATCH = 3_000, 32
_RATE, _DECAY, _DECAY_STEPS = 2e-3, 0.5, 800
#: Share of the bars that training hides beside the newest.
_HIDDEN_SHARE = 0.1
_CHECK, _PATIENCE = 200, 6
#: Most that the exported graph may be off, as a share of the largest error (or of 1).
CLOSE = 1e-5
_LAYERS = ("query", "key", "value", "out", "first", "second")


@dataclass(frozen=True, slots=True)
class Transformer:
    """A trained network: its model, the usual error of each column, and losses by step, shape ``(k, 3)``."""

    model: Any
    error: Floats
    losses: Floats


def untrained(seed: int) -> Any:  # noqa: ANN401 - Flax's module, whose import is late
    """Return the network as training begins with it."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    class Block(nnx.Module):
        """Attention and two layers, each added to what it is given, after a norm."""

        def __init__(self, rngs: nnx.Rngs) -> None:
            self.before = nnx.LayerNorm(WIDTH, rngs=rngs)
            self.query, self.key, self.value, self.out = (
                nnx.Linear(WIDTH, WIDTH, rngs=rngs) for _ in range(4)
            )
            self.between = nnx.LayerNorm(WIDTH, rngs=rngs)
            self.first = nnx.Linear(WIDTH, HIDDEN, rngs=rngs)
            self.second = nnx.Linear(HIDDEN, WIDTH, rngs=rngs)

        def __call__(self, x: Any) -> Any:  # noqa: ANN401
            normal = self.before(x)

            def heads(layer: Any) -> Any:  # noqa: ANN401
                return jnp.transpose(
                    jnp.reshape(layer(normal), (-1, WINDOW, HEADS, WIDTH // HEADS)), (0, 2, 1, 3)
                )

            scores = jnp.matmul(heads(self.query), jnp.transpose(heads(self.key), (0, 1, 3, 2)))
            weights = jax.nn.softmax(scores * (WIDTH // HEADS) ** -0.5, axis=-1)
            seen = jnp.transpose(jnp.matmul(weights, heads(self.value)), (0, 2, 1, 3))
            x = x + self.out(jnp.reshape(seen, (-1, WINDOW, WIDTH)))
            return x + self.second(jax.nn.relu(self.first(self.between(x))))

    class Network(nnx.Module):
        """Encoder, code and decoder."""

        def __init__(self, rngs: nnx.Rngs) -> None:
            self.inward = nnx.Linear(len(COLUMNS), WIDTH, rngs=rngs)
            self.encoder = nnx.List([Block(rngs) for _ in range(BLOCKS)])
            self.code = nnx.Linear(WIDTH, CODE, rngs=rngs)
            self.decode = nnx.Linear(CODE, WIDTH, rngs=rngs)
            self.decoder = nnx.List([Block(rngs) for _ in range(BLOCKS)])
            self.last = nnx.LayerNorm(WIDTH, rngs=rngs)
            self.outward = nnx.Linear(WIDTH, len(COLUMNS), rngs=rngs)

        def __call__(self, bars: Any, shown: Any) -> Any:  # noqa: ANN401
            place = jnp.asarray(positions())
            x = self.inward(bars * shown) + place
            for block in self.encoder:
                x = block(x)
            x = self.decode(self.code(x)) + place
            for block in self.decoder:
                x = block(x)
            return self.outward(self.last(x))

    return Network(nnx.Rngs(seed))


def positions() -> Array:
    """Return the sinusoidal encoding of places, float32, shape ``(WINDOW, WIDTH)``."""
    rate = 1.0 / 10_000.0 ** (np.arange(0, WIDTH, 2) / WIDTH)
    angle = np.arange(WINDOW)[:, None] * rate
    return np.stack([np.sin(angle), np.cos(angle)], axis=2).reshape(WINDOW, WIDTH).astype(np.float32)


def train(
    windows: Array,
    known: Array,
    validation: tuple[Array, Array],
    seed: int,
    steps: int = STEPS,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> Transformer:
    """Fit the network.

    Parameters
    ----------
    windows
        Float32, shape ``(n, WINDOW, len(COLUMNS))``; see `operators.bar_windows`.
    known
        Which columns each window can tell, bool, shape ``(n, len(COLUMNS))``.
    validation
        Windows and known of later bars, on which training stops early.
    seed
        The same seed, data and versions give the same network.
    steps
        How many batches are shown at most.
    on_step
        Told of a step and the validation loss after it.
    """
    import jax
    import jax.numpy as jnp
    import optax
    from flax import nnx

    chance = np.random.default_rng(seed)
    network = untrained(seed)
    rate = optax.exponential_decay(_RATE, _DECAY_STEPS, _DECAY)
    optimizer = nnx.Optimizer(network, optax.adam(rate), wrt=nnx.Param)

    def loss_of(model: Any, bars: Any, told: Any, shown: Any) -> Any:  # noqa: ANN401
        left = (model(bars, shown) - bars) ** 2 * told[:, None, :]
        # The newest bar is what is asked for: it weighs as much as all others together.
        newest, others = left[:, -1].sum(), left[:, :-1].mean(axis=1).sum()
        return (newest + others) / (2 * jnp.maximum(told.sum(), 1))

    @nnx.jit
    def learn(model: Any, state: Any, bars: Any, told: Any, shown: Any) -> Any:  # noqa: ANN401
        value, slope = nnx.value_and_grad(loss_of)(model, bars, told, shown)
        state.update(model, slope)
        return value

    @nnx.jit
    def rebuilt(model: Any, bars: Any, shown: Any) -> Any:  # noqa: ANN401
        return model(bars, shown)

    newest_hidden = _newest_hidden(len(validation[0]))
    best, best_state, losses, since = np.inf, nnx.state(network), [], 0
    recent: list[float] = []
    for step in range(1, steps + 1):
        picked = chance.integers(0, len(windows), BATCH)
        shown = (chance.random((BATCH, WINDOW, 1)) >= _HIDDEN_SHARE).astype(np.float32)
        shown[:, -1] = 0
        recent.append(float(learn(network, optimizer, windows[picked], known[picked], shown)))
        if step % _CHECK and step != steps:
            continue
        held = float(_loss(rebuilt(network, validation[0], newest_hidden), validation))
        losses.append((step, float(np.mean(recent)), held))
        recent.clear()
        on_step(step, held)
        since += 1
        if held < best:
            best, best_state, since = held, jax.tree.map(jnp.copy, nnx.state(network)), 0
        if since >= _PATIENCE:
            break
    nnx.update(network, best_state)
    some = chance.integers(0, len(windows), min(len(windows), 4_096))
    left = (np.asarray(rebuilt(network, windows[some], _newest_hidden(len(some)))) - windows[some]) ** 2
    told = known[some]
    error = np.where(told, left[:, -1], 0).sum(axis=0) / np.maximum(told.sum(axis=0), 1)
    return Transformer(network, np.sqrt(np.maximum(error, 1e-3)), np.array(losses))


def _newest_hidden(count: int) -> Array:
    shown = np.ones((count, WINDOW, 1), np.float32)
    shown[:, -1] = 0
    return shown


def _loss(told: Any, validation: tuple[Array, Array]) -> float:  # noqa: ANN401
    left = (np.asarray(told) - validation[0]) ** 2 * validation[1][:, None, :]
    both = left[:, -1].sum() + left[:, :-1].mean(axis=1).sum()
    return float(both / (2 * max(validation[1].sum(), 1)))


def export(trained: Transformer) -> bytes:
    """Return the network as an ONNX model that is quick to run; see `models.transformer_graph`.

    Input ``features`` ``[N, WINDOW, COLUMNS]`` float32, output ``errors`` of the same shape: squares of what
    is left of each column of each bar, in units of what is usually left of the newest bar's.

    Raises
    ------
    ArithmeticError
        If it does not say the same as `plain_export`.
    """
    data = quick_graph(trained)
    require_same(data, plain_export(trained))
    return data


def quick_graph(trained: Transformer) -> bytes:
    """Return what `export` does, without looking whether it is true."""
    model = trained.model

    def layer(some: Any) -> Layer:  # noqa: ANN401
        return np.asarray(some.kernel[...]), np.asarray(some.bias[...])

    def norm(some: Any) -> Layer:  # noqa: ANN401
        return np.asarray(some.scale[...]), np.asarray(some.bias[...])

    def blocks(some: Any) -> list[Block]:  # noqa: ANN401
        return [
            {name: norm(getattr(block, name)) for name in ("before", "between")}
            | {name: layer(getattr(block, name)) for name in _LAYERS}
            for block in some
        ]

    return graph_of(
        layer(model.inward),
        blocks(model.encoder),
        layer(model.code),
        layer(model.decode),
        blocks(model.decoder),
        norm(model.last),
        layer(model.outward),
        positions(),
        HEADS,
        _weight(trained),
    )


def _weight(trained: Transformer) -> Array:
    return (1.0 / trained.error**2).astype(np.float32)


def require_same(data: bytes, plain: bytes) -> None:
    """Refuse a graph that does not say what the plain export does, with `ArithmeticError`."""
    import onnxruntime

    windows = np.random.default_rng(0).normal(size=(64, WINDOW, len(COLUMNS))).astype(np.float32)
    ours, theirs = (
        onnxruntime.InferenceSession(some, providers=["CPUExecutionProvider"]).run(
            ["errors"], {"features": windows}
        )[0]
        for some in (data, plain)
    )
    furthest = float(np.abs(ours - theirs).max() / max(1.0, float(np.abs(theirs).max())))
    if not furthest <= CLOSE:
        raise ArithmeticError(f"the graph is {furthest:.1e} off the plain export, more than {CLOSE:g}")


def plain_export(trained: Transformer) -> bytes:
    """Return what jax2onnx makes of the network, with the input and output of `export`."""
    import onnx
    from flax import nnx
    from jax2onnx import to_onnx

    weight, shown = _weight(trained), _newest_hidden(1)

    class Errors(nnx.Module):
        """What is left of the bars."""

        def __init__(self, model: Any) -> None:  # noqa: ANN401
            self.model = model

        def __call__(self, bars: Any) -> Any:  # noqa: ANN401
            left = self.model(bars, shown) - bars
            return left * left * weight

    model = to_onnx(Errors(trained.model), [("B", WINDOW, len(COLUMNS))], model_name="transformer", opset=17)
    graph = model.graph
    names = {graph.input[0].name: "features", graph.output[0].name: "errors"}
    graph.input[0].name, graph.output[0].name = "features", "errors"
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data
