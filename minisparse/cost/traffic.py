"""Off-chip traffic and energy of one inference, layer by layer: a model, never a measurement.

    energy = dram_bytes * DRAM / 4 + macs * (multiply + add) + regenerations * hash          (1)

* Weights are read from DRAM once an inference, in the form in which they are stored: the bytes of a
  file where they are given, else float32 (4 P) without a mask and CSR with one, which is what the
  sparse store holds: 4 K values, 4 K column indices, 4 (O + 1) row borders. Buffers, such as a
  normalisation's running means, are read with them.
* The input is read once and the output written once, in float32. Activations between layers stay on
  the chip: an on-chip buffer large enough for them is an assumption. What moves inside the chip (SRAM,
  registers, decoding of a compressed file) is not counted.
* Multiply-adds: of every weight over a rest value other than zero, since DropBack saves no
  arithmetic, and of the K kept weights alone over zero.
* Regenerations: one a weight at a rest value that comes from the generator. Zeros and constants, such
  as a bias or a gain at rest, cost none.

Source: the energy table of `energy.py`; weights read once and 1.5 pJ a regeneration as counted by
Golub et al., 2018 (arXiv 1806.06949). **Differs from the paper:** input, output, indices and
arithmetic are counted too, and a regeneration is that of this library's own hash.
"""

from math import prod

from minisparse.cost.energy import WORD, EnergyTable
from minisparse.layers.base import Layer
from minisparse.model import Model
from minisparse.params import Parameter

ASSUMPTIONS = (
    "Estimated (45 nm model), never measured: energies of single operations from Horowitz (ISSCC 2014) as quoted by "
    "Han et al. (2015), counted for one sample.",
    "Weights are read from DRAM once an inference as they are stored; input and output cross once as float32; "
    "activations between layers are assumed to fit on the chip.",
    "Weights resting at zero take no arithmetic; those at a regenerated rest take a multiply-add and a regeneration.",
)


def inference(model: Model, stored_bytes: dict[str, int] | None = None, table: EnergyTable | None = None) -> list[dict]:
    """Counts and energies of one sample's forward pass, one row a layer with parameters or multiply-adds.

    The input and the output have a row each, so that every total is the sum over the rows.

    Parameters
    ----------
    stored_bytes : {name of a parameter or buffer: bytes in a file}; those left out are counted as they are held
    table : EnergyTable, default 45 nm

    Returns
    -------
    Rows of layer, kind, weights, kept, stored_bytes, macs, regenerations, dram_bytes, and of the estimated
    dram_uj, mac_uj, regeneration_uj and energy_uj, their sum.

    Raises
    ------
    ValueError : stored_bytes names an unknown parameter, or a negative size.
    """
    table = EnergyTable() if table is None else table
    stored = {name: held_bytes(p) for name, p in model.parameters.items()}
    stored |= {name: buffer.nbytes for name, buffer in model.buffers.items()}
    for name, size in (stored_bytes or {}).items():
        if name not in stored or size < 0:
            raise ValueError(f"stored_bytes[{name!r}]={size} must be the bytes, >= 0, of a tensor of {model.name}")
        stored[name] = size
    rows = [_row(table, "input", "", dram_bytes=WORD * prod(model.input_shape))]
    for path, layer, shape in model.net.named_shapes(model.input_shape):
        if layer.params or layer.buffers or layer.macs(shape):
            rows.append(_layer_row(table, path, layer, shape, stored))
    rows.append(_row(table, "output", "", dram_bytes=WORD * prod(model.output_shape)))
    return rows


def total(rows: list[dict]) -> dict:
    """The sum of every count and energy over the rows."""
    return {key: sum(row[key] for row in rows) for key in rows[0] if key not in ("layer", "kind")}


def held_bytes(parameter: Parameter) -> int:
    """Bytes of a parameter in memory: float32 without a mask, CSR with one."""
    if parameter.mask is None:
        return WORD * parameter.size
    rows = parameter.shape[0] if len(parameter.shape) > 1 else 1
    width = WORD if max(parameter.kept, parameter.size // max(rows, 1)) < 2**31 else 2 * WORD
    return WORD * parameter.kept + width * (parameter.kept + rows + 1)


def regenerations(parameter: Parameter) -> int:
    """Weights that one pass regenerates from the hash."""
    rest = parameter.store.rest
    return 0 if rest.is_zero or rest.kind == "constant" else parameter.size - parameter.kept


def effective_macs(layer: Layer, shape: tuple[int, ...]) -> int:
    """Multiply-adds of one sample, less those of weights that rest at zero.

    A layer uses each of its weights equally often (a convolution: once an output pixel).
    """
    weights = [p for p in layer.params.values() if p.role == "weight"]
    size = sum(p.size for p in weights)
    used = sum(p.kept if p.store.rest.is_zero else p.size for p in weights)
    return layer.macs(shape) * used // size if size else layer.macs(shape)


def _layer_row(table: EnergyTable, path: str, layer: Layer, shape: tuple[int, ...], stored: dict[str, int]) -> dict:
    parameters = layer.params.values()
    tensors = [f"{path}.{name}".lstrip(".") for name in (*layer.params, *layer.buffers)]
    stored_bytes = sum(stored[name] for name in tensors)
    return _row(
        table,
        path or type(layer).__name__,
        type(layer).__name__,
        weights=sum(p.size for p in parameters),
        kept=sum(p.kept for p in parameters),
        stored_bytes=stored_bytes,
        macs=effective_macs(layer, shape),
        regenerations=sum(map(regenerations, parameters)),
        dram_bytes=stored_bytes,
    )


def _row(table, layer, kind, weights=0, kept=0, stored_bytes=0, macs=0, regenerations=0, dram_bytes=0) -> dict:
    # eq. 1, in microjoules
    dram_uj = dram_bytes * table.dram_pj_per_byte * 1e-6
    mac_uj = macs * table.mac_pj * 1e-6
    regeneration_uj = regenerations * table.regeneration_pj * 1e-6
    return {
        "layer": layer,
        "kind": kind,
        "weights": weights,
        "kept": kept,
        "stored_bytes": stored_bytes,
        "macs": macs,
        "regenerations": regenerations,
        "dram_bytes": dram_bytes,
        "dram_uj": dram_uj,
        "mac_uj": mac_uj,
        "regeneration_uj": regeneration_uj,
        "energy_uj": dram_uj + mac_uj + regeneration_uj,
    }
