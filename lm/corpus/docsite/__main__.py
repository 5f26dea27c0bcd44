"""The child processes of the documentation site: `python -m lm.corpus.docsite scan` and `serve`."""

import sys

from lm.corpus.docsite.scan import work
from lm.corpus.docsite.server import run

if __name__ == "__main__":
    {"scan": work, "serve": run}[sys.argv[1]]()
