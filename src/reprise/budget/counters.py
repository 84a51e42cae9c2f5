"""Counters of what is called within: operations, and bytes that wait for the backward pass."""

import contextlib
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count


class Counter:
    """FLOPs of what has been called so far, and those that layers add by their own word."""

    def __init__(self, mode: FlopCounterMode) -> None:
        self._mode, self.extra = mode, 0.0

    def total(self) -> float:
        return float(self._mode.get_total_flops())

    def note(self, multiply_adds: float) -> None:
        self.extra += 2 * multiply_adds


@contextlib.contextmanager
def counted(method: nn.Module) -> Iterator[Counter]:
    """Count all that is called within."""
    mapping = {torch.ops.aten.convolution_backward: _convolution_backward}
    mode = FlopCounterMode(display=False, custom_mapping=mapping)
    counter = Counter(mode)

    def hook(module: nn.Module, given: tuple[Any, ...], _out: Any) -> None:
        counter.note(cast(Any, module).extra_multiply_adds(*given))

    own = [one for one in method.modules() if hasattr(one, "extra_multiply_adds")]
    hooks = [one.register_forward_hook(hook) for one in own]
    try:
        with mode:
            yield counter
    finally:
        for one in hooks:
            one.remove()


def _convolution_backward(
    grad_shape: list[int],
    input_shape: list[int],
    weight_shape: list[int],
    _bias: Any,
    _stride: Any,
    _padding: Any,
    _dilation: Any,
    transposed: bool,
    *args: Any,
    out_shape: Any = None,
    **kwargs: Any,
) -> int:
    """Return a convolution's backward FLOPs: its forward ones for each gradient that is wanted.

    torch's own count leaves the groups out of the weights' gradient, and so has hundreds of times
    too many for depthwise convolutions.
    """
    wanted = args[-1]  # whether the gradients of input, weights and bias are
    once = conv_flop_count(input_shape, weight_shape, grad_shape, transposed=transposed)
    return int(once * sum(map(bool, wanted[:2])))


class Kept(TorchFunctionMode):
    """Adds up the bytes of what is kept for the backward pass within, a module's weights aside.

    Attention counts as a fused one keeps it, queries, keys, values and output: the plain form that
    the meta device takes would keep all weights of all pairs of tokens.
    """

    def __init__(self, method: nn.Module) -> None:
        super().__init__()
        own = (*method.parameters(), *method.buffers())
        self._own = {one.untyped_storage()._cdata for one in own}
        self._storages: dict[int, Any] = {}  # kept alive, so that none takes another's place
        self._in_attention = False
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._note, lambda tensor: tensor)

    @property
    def bytes(self) -> int:
        """Bytes of all different storages noted."""
        return sum(storage.nbytes() for storage in self._storages.values())

    def __enter__(self) -> "Kept":
        super().__enter__()  # type: ignore[no-untyped-call]
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._hooks.__exit__(*error)
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is not nn.functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        self._in_attention = True
        try:
            out = func(*args, **(kwargs or {}))
        finally:
            self._in_attention = False
        for tensor in (*args[:3], out):
            self._note(tensor)
        return out

    def _note(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if not self._in_attention and storage._cdata not in self._own:
            self._storages[storage._cdata] = storage
        return tensor
