"""The metric, written again: slowly, from its definition, sharing nothing with the engine.

One sample at a time, gradients by autograd through the user's own native layers, raw second moments of a unit's
whole incoming vector, and the textbook formulas. Only the draws of the sampled metrics are taken from the engine
(by listening to its probe), because they are random.

Letters: b entry of the flat parameter vector, g group, k unit, i input, n sample, s place, c set of cotangents.

What the engine promises, and the oracle computes:

* diagonal, quasi-diagonal, unitwise: a sample's gradient is summed over all places and calls, then squared;
* kronecker: every place of every call is a sample;
* backpropagated: squared derivatives, layer by layer; places are apart in every shape;
* an embedding shared with the output layer: the moments of its two uses are added;
* parameters the function does not need beside others (a recurrent layer's second bias, the keys' bias) stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from isotrain.local import LocallyConnected2d
from isotrain.riemann.probes import PROBES

SHAPES = ("diagonal", "quasi-diagonal", "unitwise", "kronecker", "kronecker-full")


@dataclass
class Block:
    """Where the incoming parameters of a group of units are in the flat parameter vector.

    `bias_gk` is None where units have none. `rows` marks an embedding, whose metric is diagonal in every shape.
    """

    module: str
    weights_gki: Tensor
    bias_gk: Tensor | None
    rows: bool = False
    label: str = ""


@dataclass
class Visit:
    """A block's inputs and errors in one call, place by place.

    `inputs` [g,n,s,1+i] begins with the bias's 1 (without bias: [g,n,s,i]); `errors` [c,g,n,s,k] are d/dz of every
    set of cotangents, or the squares sent back (backpropagated: c is 1).
    """

    inputs: Tensor
    errors: Tensor


@dataclass
class Sight:
    """One call of a block with its pre-activations in sight.

    `inputs` [g,n,s,1+i]; `taps` are tensors of the graph whose gradients `arrange` turns into errors [g,n,s,k].
    """

    block: Block
    inputs: Tensor
    taps: list[Tensor]
    arrange: Callable[[list[Tensor]], Tensor]


def positions(model: nn.Module) -> dict[str, Tensor]:
    """For every parameter, the places of its entries in the flat parameter vector."""
    found, start = {}, 0
    for name, p in model.named_parameters():
        found[name] = torch.arange(start, start + p.numel()).view(p.shape)
        start += p.numel()
    return found


def flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def flat_gradient(model: nn.Module) -> Tensor:
    zero = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    return torch.cat([g.reshape(-1) for g in zero])


# --- which parameters are whose incoming weights: one function per kind of layer ------------------------------

CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
CONV_TRANSPOSE = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CHANNEL_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d)
LAST_NORM = (nn.LayerNorm, nn.RMSNorm)


def blocks_of(name: str, layer: nn.Module, at: dict[str, Tensor]) -> list[Block]:
    """The blocks of one layer."""
    p = {short: at[f"{name}.{short}"] for short, _ in layer.named_parameters(recurse=False) if f"{name}.{short}" in at}
    if isinstance(layer, nn.Linear | nn.Bilinear):
        return [Block(name, p["weight"].flatten(1)[None], p["bias"][None] if "bias" in p else None)]
    if isinstance(layer, nn.Embedding):
        return [Block(name, p["weight"].T[None], None, rows=True)]
    if isinstance(layer, CONV):
        g = layer.groups
        rows = p["weight"].flatten(1)
        return [Block(name, rows.view(g, -1, rows.shape[1]), p["bias"].view(g, -1) if "bias" in p else None)]
    if isinstance(layer, LocallyConnected2d):
        return [Block(name, p["weight"], p["bias"])]
    if isinstance(layer, CONV_TRANSPOSE):
        g, w = layer.groups, p["weight"]
        per_group = w.reshape(g, w.shape[0] // g, w.shape[1], -1)
        rows = torch.stack([torch.stack([per_group[a, :, k].flatten() for k in range(w.shape[1])]) for a in range(g)])
        return [Block(name, rows, p["bias"].view(g, -1) if "bias" in p else None)]
    if isinstance(layer, CHANNEL_NORM + LAST_NORM):
        return [Block(name, p["weight"].reshape(-1, 1, 1), p["bias"].reshape(-1, 1) if "bias" in p else None)]
    if isinstance(layer, nn.PReLU):
        return [Block(name, p["weight"].reshape(-1, 1, 1), None)]
    if isinstance(layer, nn.RNNBase | nn.RNNCellBase):
        return recurrent_blocks(name, layer, p)
    if isinstance(layer, nn.MultiheadAttention):
        return attention_blocks(name, layer, p)
    return []


def recurrent_blocks(name: str, layer: Any, p: dict[str, Tensor]) -> list[Block]:
    """Gates read (x_t, h_{t-1}); the candidate of a GRU reads them apart. The second bias belongs to nobody."""
    if isinstance(layer, nn.RNNCellBase):
        suffixes = [""]
    else:
        tails = ["", "_reverse"] if layer.bidirectional else [""]
        suffixes = [f"_l{depth}{tail}" for depth in range(layer.num_layers) for tail in tails]
    found = []
    for s in suffixes:
        ih, hh, b1, b2 = p["weight_ih" + s], p["weight_hh" + s], p.get("bias_ih" + s), p.get("bias_hh" + s)
        if isinstance(layer, nn.GRU | nn.GRUCell):
            h = hh.shape[1]
            joint = torch.cat([ih[: 2 * h], hh[: 2 * h]], 1)
            found += [
                Block(name, joint[None], None if b1 is None else b1[None, : 2 * h], label=s + "gates"),
                Block(name, ih[None, 2 * h :], None if b1 is None else b1[None, 2 * h :], label=s + "new_x"),
                Block(name, hh[None, 2 * h :], None if b2 is None else b2[None, 2 * h :], label=s + "new_h"),
            ]
        else:
            found.append(Block(name, torch.cat([ih, hh], 1)[None], None if b1 is None else b1[None], label=s + "gates"))
        if "weight_hr" + s in p:
            found.append(Block(name, p["weight_hr" + s][None], None, label=s + "projection"))
    return found


def attention_blocks(name: str, layer: nn.MultiheadAttention, p: dict[str, Tensor]) -> list[Block]:
    """Queries, keys, values; the output projection is a Linear found on its own."""
    e = layer.embed_dim
    moved_by_keys = layer.add_zero_attn or layer.bias_k is not None
    found = []
    for place, label in enumerate("qkv"):
        weight = (
            p["in_proj_weight"][place * e : (place + 1) * e] if "in_proj_weight" in p else p[f"{label}_proj_weight"]
        )
        bias = p["in_proj_bias"][place * e : (place + 1) * e] if "in_proj_bias" in p else None
        if label == "k" and not moved_by_keys:
            bias = None
        found.append(Block(name, weight[None], None if bias is None else bias[None], label=label))
    for label in ("bias_k", "bias_v"):
        if label in p:
            empty = torch.zeros(1, e, 0, dtype=torch.long)
            found.append(Block(name, empty, p[label].reshape(1, e), label=label))
    return found


def all_blocks(model: nn.Module) -> list[Block]:
    at = positions(model)
    return [block for name, layer in model.named_modules() for block in blocks_of(name, layer, at)]


# --- cotangents -----------------------------------------------------------------------------------------------


@contextmanager
def listen(metric: str) -> Iterator[list[dict[int, Tensor]]]:
    """Hear the cotangents the engine's probe hands out."""
    probe, heard = PROBES[metric], []
    original = type(probe).cotangents

    def cotangents(self: Any, heads: Any, generator: Any) -> Any:
        for one in original(self, heads, generator):
            heard.append(one)
            yield one

    type(probe).cotangents = cotangents  # type: ignore[method-assign]
    try:
        yield heard
    finally:
        type(probe).cotangents = original  # type: ignore[method-assign]


def cross_entropy_cotangents(metric: str, logits: Tensor, labels: Tensor, dim: int) -> list[Tensor]:
    """Of the mean cross-entropy over all rows, from the formulas (outer-product, exact, backpropagated)."""
    p = logits.detach().softmax(dim)
    rows = p.numel() // p.shape[dim]
    if metric == "outer-product":
        one_hot = torch.zeros_like(p).scatter(dim, labels.unsqueeze(dim), 1.0)
        return [(p - one_hot) / rows**0.5]
    if metric == "backpropagated":
        return [p * (1 - p) / rows]
    assert metric == "exact"
    found = []
    for label in range(p.shape[dim]):
        one_hot = torch.zeros_like(p)
        one_hot.select(dim, label).fill_(1.0)
        found.append(p.select(dim, label).unsqueeze(dim).sqrt() * (p - one_hot) / rows**0.5)
    return found


# --- per-sample gradients and formulas ------------------------------------------------------------------------


def per_sample(model: nn.Module, output: Tensor, cotangents: list[Tensor]) -> Tensor:
    """[c*n, b]: the gradient of every sample's own rows, for every set of cotangents."""
    parameters = list(model.parameters())
    rows = []
    for cotangent in cotangents:
        for n in range(output.shape[0]):
            mine = torch.zeros_like(output)
            mine[n] = cotangent[n]
            got = torch.autograd.grad(output, parameters, mine, retain_graph=True, allow_unused=True)
            full = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, got, strict=True)]
            rows.append(torch.cat([g.reshape(-1) for g in full]))
    return torch.stack(rows)


def moments_of_gradients(block: Block, gradients_nb: Tensor) -> dict[tuple[int, int], Tensor]:
    """For every unit, the second moment [1+i, 1+i] (without bias [i,i]) of its per-sample gradient."""
    found = {}
    for g, k in unit_places(block):
        own = gradients_nb[:, incoming(block, g, k)]
        found[g, k] = own.T @ own
    return found


def moments_of_places(block: Block, visits: list[Visit]) -> dict[tuple[int, int], Tensor]:
    """The same from weights of the backpropagated metric: every place apart."""
    found = {}
    for g, k in unit_places(block):
        total = torch.zeros((), dtype=torch.float64)
        for v in visits:
            h, q = v.inputs[g].flatten(0, 1), v.errors[0, g, ..., k].reshape(-1, 1)
            total = total + h.T @ (q * h)
        found[g, k] = total
    return found


def unit_places(block: Block) -> Iterator[tuple[int, int]]:
    for g in range(block.weights_gki.shape[0]):
        for k in range(block.weights_gki.shape[1]):
            yield g, k


def incoming(block: Block, g: int, k: int) -> Tensor:
    """Places of a unit's parameters in the flat vector, its bias first."""
    weights = block.weights_gki[g, k]
    return weights if block.bias_gk is None else torch.cat([block.bias_gk[g, k : k + 1], weights])


def solve_unit(shape: str, moment: Tensor, gradient: Tensor, biased: bool) -> Tensor:
    """The step of one unit; the bias is entry 0."""
    if shape == "unitwise":
        return torch.linalg.solve(moment, gradient)
    delta = gradient / moment.diagonal()
    if shape == "quasi-diagonal" and biased:
        m00 = moment[0, 0]
        for i in range(1, len(gradient)):
            m0i, mii = moment[0, i], moment[i, i]
            delta[i] = (gradient[i] * m00 - gradient[0] * m0i) / (mii * m00 - m0i**2)
        delta[0] = gradient[0] / m00 - sum(moment[0, i] / m00 * delta[i] for i in range(1, len(gradient)))
    return delta


def unit_steps(shape: str, block: Block, moments: dict[tuple[int, int], Tensor], gradient_b: Tensor) -> Tensor:
    """[b] the step of a block under diagonal, quasi-diagonal or unitwise; 0 elsewhere."""
    step = torch.zeros_like(gradient_b)
    for (g, k), moment in moments.items():
        where = incoming(block, g, k)
        step[where] = solve_unit(shape, moment, gradient_b[where], block.bias_gk is not None)
    return step


def row_steps(block: Block, squares_b: Tensor, gradient_b: Tensor) -> Tensor:
    """[b] the step of an embedding: a quotient for every entry that was touched."""
    step = torch.zeros_like(gradient_b)
    where = block.weights_gki.reshape(-1)
    where = where[squares_b[where] > 0]
    step[where] = gradient_b[where] / squares_b[where]
    return step


def kronecker_steps(full: bool, squares: bool, block: Block, visits: list[Visit], gradient_b: Tensor) -> Tensor:
    """[b] B^-1 G A^-1 for every group, A over homogeneous inputs, B one number a unit or a matrix."""
    step = torch.zeros_like(gradient_b)
    groups, units = block.weights_gki.shape[:2]
    for g in range(groups):
        h = torch.cat([v.inputs[g].flatten(0, 1) for v in visits])
        a = h.T @ h / len(h)
        d = torch.cat([v.errors[:, g].flatten(0, 2) for v in visits])
        b = torch.diag(d.sum(0)) if squares else d.T @ d
        if not full:
            b = torch.diag(b.diagonal())
        where = torch.stack([incoming(block, g, k) for k in range(units)])
        step[where] = pseudo_inverse(b) @ gradient_b[where] @ torch.linalg.inv(a)
    return step


def pseudo_inverse(b: Tensor) -> Tensor:
    """Shortest solution in units of each row's own deviation: the errors of a softmax add up to zero."""
    deviation = b.diagonal().sqrt()
    values, vectors = torch.linalg.eigh(b / deviation / deviation[:, None])
    kept = values > 1e-12
    inverse = vectors[:, kept] / values[kept] @ vectors[:, kept].T
    return inverse / deviation / deviation[:, None]


def relative(found: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest entry."""
    return float((found - expected).detach().abs().max() / expected.detach().abs().max())


# --- places: inputs and errors of every call ------------------------------------------------------------------


def arranged(layer: nn.Module, y: Tensor) -> Tensor:
    """A layer's output as [g,n,s,k]."""
    if isinstance(layer, CONV + CONV_TRANSPOSE):
        return y.flatten(2).unflatten(1, (layer.groups, -1)).permute(1, 0, 3, 2)
    if isinstance(layer, LocallyConnected2d):
        return y.flatten(2).permute(2, 0, 1).unsqueeze(2)
    if isinstance(layer, CHANNEL_NORM):
        return y.flatten(2).permute(1, 0, 2).unsqueeze(-1) if y.ndim > 2 else y.T[..., None, None]
    if isinstance(layer, LAST_NORM):
        return y.reshape(y.shape[0], -1, layer.weight.numel()).permute(2, 0, 1).unsqueeze(-1)
    if isinstance(layer, nn.PReLU):
        return y.reshape(y.shape[0], layer.weight.numel(), -1).permute(1, 0, 2).unsqueeze(-1)
    return y.reshape(y.shape[0], -1, y.shape[-1]).unsqueeze(0)


def inputs_by_autograd(model: nn.Module, layer: nn.Module, block: Block, args: tuple[Any, ...]) -> Tensor:
    """[g,n,s,1+i]: the derivative of a group's first unit with respect to its own parameters, at every place."""
    own = list(layer.parameters())
    at = positions(model)
    names = {id(p): name for name, p in model.named_parameters()}
    with torch.enable_grad():
        z = arranged(layer, type(layer).forward(layer, *(a.detach() for a in args)))  # type: ignore[operator]
    groups, samples, places = z.shape[:3]
    size = sum(p.numel() for p in model.parameters())
    found = []
    for g in range(groups):
        where = incoming(block, g, 0)
        for n in range(samples):
            for s in range(places):
                row = torch.zeros(size, dtype=z.dtype)
                got = torch.autograd.grad(z[g, n, s, 0], own, retain_graph=True, allow_unused=True)
                for p, derivative in zip(own, got, strict=True):
                    if derivative is not None:
                        row[at[names[id(p)]].reshape(-1)] = derivative.reshape(-1)
                found.append(row[where])
    return torch.stack(found).view(groups, samples, places, -1)


def sights(model: nn.Module, args: tuple[Any, ...]) -> tuple[Tensor, list[Sight]]:
    """Run the model, fused layers written out by hand; returns its output and every call of every block."""
    found: list[Sight] = []
    per_module: dict[str, list[Block]] = {}
    for block in all_blocks(model):
        per_module.setdefault(block.module, []).append(block)
    undo: list[Callable[[], None]] = []
    for name, layer in model.named_modules():
        blocks = per_module.get(name, [])
        if isinstance(layer, nn.RNNBase | nn.RNNCellBase | nn.MultiheadAttention):
            by_hand = attention_by_hand if isinstance(layer, nn.MultiheadAttention) else recurrent_by_hand

            def forward(*a: Any, layer: Any = layer, blocks: Any = blocks, by_hand: Any = by_hand, **k: Any) -> Any:
                return by_hand(layer, blocks, found, *a, **k)

            layer.forward = forward  # type: ignore[method-assign]
            undo.append(lambda layer=layer: delattr(layer, "forward"))
        elif blocks and not blocks[0].rows:

            def hook(m: Any, a: Any, out: Tensor, block: Block = blocks[0]) -> Tensor:
                inputs = inputs_by_autograd(model, m, block, a)
                found.append(Sight(block, inputs, [out], lambda d: arranged(m, d[0])))
                return out.clone()

            undo.append(layer.register_forward_hook(hook).remove)
        elif blocks:

            def rows_hook(m: Any, a: Any, out: Tensor, block: Block = blocks[0]) -> Tensor:
                found.append(Sight(block, a[0], [out], lambda d: d[0]))
                return out.clone()

            undo.append(layer.register_forward_hook(rows_hook).remove)
    output = model(*args)
    for one in undo:
        one()
    return output, found


def visits(output: Tensor, found: list[Sight], cotangents: list[Tensor]) -> dict[int, list[Visit]]:
    """Errors of every call by autograd, under the identity of the block."""
    result: dict[int, list[Visit]] = {}
    for sight in found:
        errors = []
        for cotangent in cotangents:
            got = torch.autograd.grad(output, sight.taps, cotangent, retain_graph=True, allow_unused=True)
            whole = [torch.zeros_like(t) if g is None else g for t, g in zip(sight.taps, got, strict=True)]
            errors.append(sight.arrange(whole))
        result.setdefault(id(sight.block), []).append(Visit(sight.inputs, torch.stack(errors)))
    return result


def with_one(block: Block, rows_nf: Tensor) -> Tensor:
    """Homogeneous inputs: a 1 in front where the units have a bias."""
    return rows_nf if block.bias_gk is None else torch.cat([torch.ones_like(rows_nf[..., :1]), rows_nf], -1)


# --- fused layers by hand -------------------------------------------------------------------------------------


def recurrent_by_hand(layer: Any, blocks: list[Block], found: list[Sight], x: Any, hx: Any = None) -> Any:
    """RNN, LSTM, GRU and their cells: sequence by sequence, step by step."""
    p = dict(layer.named_parameters())
    cell = isinstance(layer, nn.RNNCellBase)
    lstm, gru = isinstance(layer, nn.LSTM | nn.LSTMCell), isinstance(layer, nn.GRU | nn.GRUCell)
    packed = isinstance(x, nn.utils.rnn.PackedSequence)
    if packed:
        batch, lengths = nn.utils.rnn.pad_packed_sequence(x, batch_first=True)
    else:
        batch = x.unsqueeze(1) if cell else x if layer.batch_first else x.transpose(0, 1)
        lengths = torch.full((batch.shape[0],), batch.shape[1])
    tails = [""] if cell else ["", "_reverse"] if layer.bidirectional else [""]
    suffixes = [(s, t) for s in ([""] if cell else [f"_l{d}" for d in range(layer.num_layers)]) for t in tails]
    relu = getattr(layer, "nonlinearity", "tanh") == "relu"
    mine = {b.label: b for b in blocks}
    seen: dict[str, dict[tuple[int, int], tuple[Tensor, Tensor]]] = {b.label: {} for b in blocks}
    samples, times = batch.shape[:2]
    last_h: dict[tuple[int, int], Tensor] = {}
    last_c: dict[tuple[int, int], Tensor] = {}
    outputs_n: list[Tensor] = []
    for n in range(samples):
        inputs = [batch[n, t] for t in range(int(lengths[n]))]
        for depth in range(len(suffixes) // len(tails)):
            ways = []
            for way, tail in enumerate(tails):
                place = depth * len(tails) + way
                s = ("" if cell else f"_l{depth}") + tail
                w, u = p["weight_ih" + s], p["weight_hh" + s]
                zero = torch.zeros(w.shape[0], dtype=w.dtype)
                b1, b2 = p.get("bias_ih" + s, zero), p.get("bias_hh" + s, zero)
                size = layer.hidden_size
                h = torch.zeros(u.shape[1], dtype=w.dtype)
                c = torch.zeros(size, dtype=w.dtype)
                if hx is not None:
                    given = hx[0] if lstm else hx
                    h = given[n] if cell else given[place, n]
                    if lstm:
                        c = hx[1][n] if cell else hx[1][place, n]
                out: dict[int, Tensor] = {}
                order = range(len(inputs))
                for t in reversed(order) if tail else order:
                    a = inputs[t]
                    if gru:
                        z = w[: 2 * size] @ a + b1[: 2 * size] + u[: 2 * size] @ h + b2[: 2 * size]
                        z_x, z_h = w[2 * size :] @ a + b1[2 * size :], u[2 * size :] @ h + b2[2 * size :]
                        seen[s + "gates"][n, t] = (torch.cat([a, h]), z)
                        seen[s + "new_x"][n, t], seen[s + "new_h"][n, t] = (a, z_x), (h, z_h)
                        r, keep = z[:size].sigmoid(), z[size:].sigmoid()
                        h = (1 - keep) * (z_x + r * z_h).tanh() + keep * h
                    else:
                        z = w @ a + b1 + u @ h + b2
                        seen[s + "gates"][n, t] = (torch.cat([a, h]), z)
                        if lstm:
                            i, f, g, o = z[:size], z[size : 2 * size], z[2 * size : 3 * size], z[3 * size :]
                            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                            h = o.sigmoid() * c.tanh()
                            if "weight_hr" + s in p:
                                z = p["weight_hr" + s] @ h
                                seen[s + "projection"][n, t] = (h, z)
                                h = z
                        else:
                            h = z.relu() if relu else z.tanh()
                    out[t] = h
                last_h[place, n], last_c[place, n] = h, c
                ways.append(out)
            inputs = [torch.cat([way[t] for way in ways]) for t in range(len(inputs))]
        outputs_n.append(torch.cat([torch.stack(inputs), batch.new_zeros(times - len(inputs), len(inputs[0]))]))
    for label, places in seen.items():
        # Beyond its end a sequence is repeated from its start, without errors: every sequence counts alike.
        rows = [[places[n, t % int(lengths[n])][0].detach() for t in range(times)] for n in range(samples)]
        taps = {key: z for key, (_, z) in places.items()}

        def arrange(d: list[Tensor], keys: Any = tuple(taps)) -> Tensor:
            whole = torch.zeros(1, samples, times, len(d[0]), dtype=d[0].dtype)
            for (n, t), one in zip(keys, d, strict=True):
                whole[0, n, t] = one
            return whole

        inputs_nsi = torch.stack([torch.stack(row) for row in rows]).unsqueeze(0)
        found.append(Sight(mine[label], with_one(mine[label], inputs_nsi), list(taps.values()), arrange))
    h_all = torch.stack([torch.stack([last_h[place, n] for n in range(samples)]) for place in range(len(suffixes))])
    c_all = torch.stack([torch.stack([last_c[place, n] for n in range(samples)]) for place in range(len(suffixes))])
    if cell:
        return (h_all[0], c_all[0]) if lstm else h_all[0]
    output: Any = torch.stack(outputs_n)
    if packed:
        output = nn.utils.rnn.pack_padded_sequence(output, lengths, batch_first=True, enforce_sorted=False)
    elif not layer.batch_first:
        output = output.transpose(0, 1)
    return output, ((h_all, c_all) if lstm else h_all)


def attention_by_hand(
    layer: nn.MultiheadAttention,
    blocks: list[Block],
    found: list[Sight],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
) -> tuple[Tensor, None]:
    """Sample by sample, head by head."""
    e, heads = layer.embed_dim, layer.num_heads
    size = e // heads
    mine = {b.label: b for b in blocks}
    batches = [x if layer.batch_first else x.transpose(0, 1) for x in (query, key, value)]
    projected = []
    for place, x in enumerate(batches):
        rows = slice(place * e, (place + 1) * e)
        separate = (layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight)[place]
        weight = separate if layer.in_proj_weight is None else layer.in_proj_weight[rows]
        z = x @ weight.T
        if layer.in_proj_bias is not None:
            z = z + layer.in_proj_bias[rows]
        block = mine["qkv"[place]]
        found.append(Sight(block, with_one(block, x.detach()).unsqueeze(0), [z], lambda d: d[0].unsqueeze(0)))
        projected.append(z)
    outputs, extra_k, extra_v = [], [], []
    for n in range(batches[0].shape[0]):
        q, k, v = (z[n] for z in projected)
        blocked = torch.zeros(q.shape[0], k.shape[0], dtype=q.dtype)
        if attn_mask is not None:
            add = attn_mask.double().masked_fill(attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else attn_mask
            blocked = blocked + add
        if key_padding_mask is not None:
            blocked = blocked.masked_fill(key_padding_mask[n], -torch.inf)
        if layer.bias_k is not None and layer.bias_v is not None:
            extra_k.append(layer.bias_k[0, 0].clone())
            extra_v.append(layer.bias_v[0, 0].clone())
            k, v = torch.cat([k, extra_k[-1][None]]), torch.cat([v, extra_v[-1][None]])
            blocked = torch.cat([blocked, blocked.new_zeros(len(blocked), 1)], 1)
        if layer.add_zero_attn:
            k, v = torch.cat([k, torch.zeros_like(k[:1])]), torch.cat([v, torch.zeros_like(v[:1])])
            blocked = torch.cat([blocked, blocked.new_zeros(len(blocked), 1)], 1)
        mixed = []
        for head in range(heads):
            own = slice(head * size, (head + 1) * size)
            scores = q[:, own] @ k[:, own].T / size**0.5 + blocked
            mixed.append(scores.softmax(-1) @ v[:, own])
        outputs.append(torch.cat(mixed, -1))
    for label, taps in (("bias_k", extra_k), ("bias_v", extra_v)):
        if taps:
            ones = torch.ones(1, len(taps), 1, 1, dtype=query.dtype)
            found.append(Sight(mine[label], ones, taps, lambda d: torch.stack(d)[None, :, None]))
    out = layer.out_proj(torch.stack(outputs))
    return (out if layer.batch_first else out.transpose(0, 1)), None


# --- squares sent back, module by module ----------------------------------------------------------------------


def squares_back(modules: list[nn.Module], x: Tensor, squares: Tensor) -> list[Tensor]:
    """The weights q at the output of every module of a chain: q_in = sum_out (d out / d in)^2 q_out, by sample.

    Only the first module may couple samples: nothing is sent through it.
    """
    found: list[list[Tensor]] = [[] for _ in modules]
    batches = [x]
    for module in modules:
        batches.append(module(batches[-1]).detach())
    for n in range(x.shape[0]):
        values = [batch[n : n + 1] for batch in batches]
        q = squares[n : n + 1]
        for place in reversed(range(len(modules))):
            found[place].append(q)
            if place:
                jacobian = torch.autograd.functional.jacobian(modules[place], values[place])
                q = (jacobian.reshape(q.numel(), -1).square().T @ q.reshape(-1)).view(values[place].shape)
    return [torch.cat(q) for q in found]


def row_squares(block: Block, seen: list[Visit], size: int) -> Tensor:
    """[b] an embedding's diagonal of the backpropagated metric: the weights of every place that met a row."""
    found = torch.zeros(size, dtype=torch.float64)
    for v in seen:
        index, q = v.inputs.reshape(-1), v.errors[0].reshape(v.inputs.numel(), -1)
        for row, squares in zip(index.tolist(), q, strict=True):
            found[block.weights_gki[0, :, row]] += squares
    return found


def lstm_squares(model: Any, x_ntf: Tensor, squares: Tensor) -> dict[tuple[str, str], Tensor]:
    """Weights [n,s,k] of an LSTM's gates and of the head on its last output, operation by operation."""
    p = {name: value.detach() for name, value in model.layer.named_parameters()}
    w, u, bias = p["weight_ih_l0"], p["weight_hh_l0"], p["bias_ih_l0"] + p["bias_hh_l0"]
    samples, times, _ = x_ntf.shape
    size = u.shape[1]
    gates = torch.zeros(samples, times, 4 * size, dtype=torch.float64)
    for n in range(samples):
        h = c = torch.zeros(size, dtype=torch.float64)
        kept = []
        for t in range(times):
            i, f, g, o = (w @ x_ntf[n, t] + u @ h + bias).split(size)
            i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
            kept.append((i, f, g, o, c))
            c = f * c + i * g
            h = o * c.tanh()
            kept[-1] = (*kept[-1], c.tanh())
        q_h = model.head.weight.detach().square().T @ squares[n]
        q_c = torch.zeros(size, dtype=torch.float64)
        for t in reversed(range(times)):
            i, f, g, o, before, squashed = kept[t]
            q_o = q_h * squashed**2 * (o * (1 - o)) ** 2
            q_c = q_c + q_h * (o * (1 - squashed**2)) ** 2
            q_i, q_f = q_c * (g * i * (1 - i)) ** 2, q_c * (before * f * (1 - f)) ** 2
            q_g = q_c * (i * (1 - g**2)) ** 2
            gates[n, t] = torch.cat([q_i, q_f, q_g, q_o])
            q_c = q_c * f**2
            q_h = u.square().T @ gates[n, t]
    return {("layer", "_l0gates"): gates, ("head", ""): squares[:, None]}


def attention_squares(model: Any, x_nte: Tensor, squares: Tensor) -> dict[tuple[str, str], Tensor]:
    """Weights [n,s,k] at queries, keys, values, output projection and head, by Jacobians of every operation."""
    layer, jacobian = model.layer, torch.autograd.functional.jacobian
    e, heads, times = layer.embed_dim, layer.num_heads, x_nte.shape[1]
    size = e // heads

    def parted(z: Tensor) -> Tensor:
        return z.unflatten(-1, (heads, size)).transpose(0, 1)

    operations = [
        lambda q, k: parted(q) @ parted(k).transpose(-1, -2) / size**0.5,
        lambda scores: scores.softmax(-1),
        lambda a, v: (a @ parted(v)).transpose(0, 1).flatten(1),
        lambda mixed: mixed @ layer.out_proj.weight.T + layer.out_proj.bias,
        lambda out: out.tanh(),
    ]
    found: dict[tuple[str, str], list[Tensor]] = {}
    for n in range(len(x_nte)):
        with torch.no_grad():
            q, k, v = (x_nte[n] @ layer.in_proj_weight.T + layer.in_proj_bias).split(e, -1)
            scores = operations[0](q, k)
            attention = operations[1](scores)
            mixed = operations[2](attention, v)
            out = operations[3](mixed)

        def back(place: int, weights: Tensor, *values: Tensor) -> list[Tensor]:
            found = jacobian(operations[place], values)
            flat_q = weights.reshape(-1)
            return [
                (j.reshape(len(flat_q), -1).square().T @ flat_q).view_as(x) for j, x in zip(found, values, strict=True)
            ]

        q_sum = model.head.weight.detach().square().T @ squares[n]
        (q_out,) = back(4, q_sum.expand(times, e), out)
        (q_mixed,) = back(3, q_out, mixed)
        q_attention, q_v = back(2, q_mixed, attention, v)
        (q_scores,) = back(1, q_attention, scores)
        q_q, q_k = back(0, q_scores, q, k)
        own = {"q": q_q, "k": q_k, "v": q_v}
        for label, one in own.items():
            found.setdefault(("layer", label), []).append(one)
        found.setdefault(("layer.out_proj", ""), []).append(q_out)
        found.setdefault(("head", ""), []).append(squares[n][None])
    return {key: torch.stack(rows) for key, rows in found.items()}
