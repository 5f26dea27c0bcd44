"""An ordinary web site to crawl without a network: the documentation of the Python packages installed beside this one.

sources    which files there are, cut into units of work
scan       docstrings of a unit, read with `ast`; nothing is imported
site       all units as one site; what an address holds
docstring  a docstring as HTML
render     pages
server     the site on loopback, in a process of its own

site = build("cache")
with serve(site) as server:
    crawl_site(CrawlOptions(start_url=server.site_url, proxy=server.proxy_url, delay_seconds=0), "crawl")
"""

from lm.corpus.docsite.server import Server, serve
from lm.corpus.docsite.site import Site, build

__all__ = ["Server", "Site", "build", "serve"]
