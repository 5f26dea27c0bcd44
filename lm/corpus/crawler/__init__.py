"""A polite, repeatable crawler of one site, writing WARC.

run        starts a crawl in a process of its own and waits for it
options    what is asked, known and answered
frontier   which pages are visited, in which order
robots     what the site allows
fetch      requests, through Scrapy's downloader
links      what a page or a sitemap points to
journal    what is done so far, and the sealed files
crawl      all of these joined, inside the crawling process

result = crawl_site(CrawlOptions(start_url="https://example.org/", max_pages=500), "crawls/example")
"""

from lm.corpus.crawler.options import CrawlError, CrawlOptions, CrawlResult, KnownPage, Progress
from lm.corpus.crawler.run import crawl_site, known_pages, read_result

__all__ = ["CrawlError", "CrawlOptions", "CrawlResult", "KnownPage", "Progress", "crawl_site", "known_pages", "read_result"]
