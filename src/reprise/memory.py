"""How much memory tensors take while a call runs, on a processor or a GPU, in bytes.

What is measured is what torch's allocator hands out for tensors and work space. What libraries
such as oneDNN allocate for themselves is not seen on a processor, and the allocator's reserve is
not counted on a GPU.
"""

import itertools
import os
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile


def peak_of(call: Callable[[], object], device: torch.device) -> int:
    """Return the most bytes that a call has allocated at once, above what there was before it.

    On a processor, a call that frees what there was before it is not credited for that.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    return max(itertools.accumulate(_changes(call), initial=0))


def _changes(call: Callable[[], object]) -> list[int]:
    """Return what each allocation of a call on the processor adds, or freeing takes, in order."""
    # The profiler's library would report on standard error that there is no GPU.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        call()
    assert profiled.profiler is not None
    events = [
        event
        for event in profiled.profiler.kineto_results.events()
        if event.name() == "[memory]" and event.device_type().name == "CPU"
    ]
    return [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]


def held_by(module: nn.Module, *others: Tensor) -> int:
    """Return the bytes of a module's parameters and buffers, each once, and of other tensors."""
    return sum(one.nbytes for one in (*module.parameters(), *module.buffers(), *others))
