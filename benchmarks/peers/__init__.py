"""Other people's tools, run as they are published, for the benchmarks to compare with. Needs the extra `benchmarks`.

Python looks for modules beside a script first, and numba asks for a package named coverage, whose name a script here has too; it is told
that there is none. So `peers` must be imported before anything that imports numba.
"""

import sys

sys.modules.setdefault("coverage", None)  # type: ignore[arg-type]
