"""Freed memory back to the system.

glibc keeps what is freed between pieces that are still in use, so a process that reads pages of all sizes one after the other grows with
their number though it holds none of them. `give_back` after each row group costs a millisecond or two and keeps the peak where one page
and one row group put it. Where the C library has no such call, nothing happens.
"""

import ctypes
from collections.abc import Callable
from functools import cache


def give_back() -> bool:
    """Return freed memory; whether there was any."""
    return bool(_trim()(0))


@cache
def _trim() -> Callable[[int], int]:
    return getattr(ctypes.CDLL(None), "malloc_trim", lambda _: 0)
