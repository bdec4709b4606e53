"""What a network's precision means on a GPU: how numbers are stored, and how products are formed."""

from __future__ import annotations

from goturn.ops.cuda_tower import Arithmetic

#: The dtype of towers' activations and weights; int8 is for the fc weights alone.
_DTYPES = {
    "fp32": "float32",
    "tf32": "float32",
    "bf16": "uint16",
    "fp16": "float16",
    "int8": "float16",
}


def arithmetic(precision: str, products: str) -> tuple[Arithmetic, str]:
    """How towers compute at ``precision``, and how batches are multiplied in the fc layers.

    Args:
        precision: the network's.
        products: of float32 numbers, where they are to keep nearly all of their bits; "scalar" where
            there are no tensor cores (or none are wanted), and then everything is.
    """
    if products == "scalar" or precision == "fp32":
        chosen = products
    elif precision == "tf32":
        chosen = "tf32"
    else:
        chosen = "half"
    return Arithmetic(_DTYPES[precision], chosen), chosen
