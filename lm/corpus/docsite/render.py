"""Pages of the documentation site, with what pages of such sites have around their text: navigation, breadcrumb, sidebar, footer.

The surroundings are the point: a crawler must find its links in them, and an extractor must take them away again.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from lm.corpus.docsite.docstring import to_html

_NAVIGATION = (("/", "All packages"), ("/search/", "Search"), ("/about.html", "About this site"))
_ABOUT = """These pages hold the documentation that installed Python packages carry in their source code. They are made on request, from
the docstrings of modules, classes and functions as they were written, and every text stays under the licence of its package. Nothing
is imported or run to make them: the source files are parsed, and what has a docstring is shown with its signature. Modules with
hardly any documentation have no page of their own."""


def module_page(module: Mapping[str, Any], package: Mapping[str, str], siblings: Sequence[str], children: Sequence[str]) -> bytes:
    """The page of one module. `siblings` and `children` are full names of modules that have pages."""
    name = module["name"]
    parts = [f"<h1>{escape(name)}</h1>", to_html(module["doc"]) if module["doc"] else ""]
    if children:
        parts.append("<h2>Submodules</h2>\n" + _module_list(package["name"], children))
    for kind, qualified, signature, doc in module["members"]:
        level = 3 if kind == "method" else 2
        heading = f'<code><span class="kind">{kind}</span> {escape(qualified)}{escape(signature)}</code>'
        parts.append(f'<section id="{escape(qualified)}">\n<h{level}>{heading}</h{level}>\n{to_html(doc)}\n</section>')
    crumbs = [("/", "Home"), (f"/{package['name']}/", package["name"]), (None, name)]
    return _page(
        f"{name} — {package['name']} {package['version']} documentation", crumbs, _sidebar(package, siblings, name), parts, package
    )


def package_page(package: Mapping[str, str], modules: Sequence[tuple[str, str]]) -> bytes:
    """The index of one package: its modules and their first sentences."""
    rows = "\n".join(
        f'<li><a href="/{package["name"]}/{name}.html"><code>{escape(name)}</code></a> {escape(summary)}</li>' for name, summary in modules
    )
    parts = [
        f"<h1>{escape(package['name'])} {escape(package['version'])}</h1>",
        f"<p>{escape(package['summary'])}</p>",
        f'<h2>Modules</h2>\n<ul class="index">\n{rows}\n</ul>',
    ]
    title = f"{package['name']} {package['version']} documentation"
    return _page(title, [("/", "Home"), (None, package["name"])], _sidebar(package, [name for name, _ in modules], ""), parts, package)


def root_page(packages: Sequence[Mapping[str, str]]) -> bytes:
    """The front page: all packages."""
    rows = "\n".join(
        f'<li><a href="/{package["name"]}/">{escape(package["name"])}</a> {escape(package["version"])}: {escape(package["summary"])}</li>'
        for package in packages
    )
    parts = ["<h1>Python package documentation</h1>", f"<p>{_ABOUT}</p>", f'<ul class="index">\n{rows}\n</ul>']
    return _page("Python package documentation", [(None, "Home")], "", parts, None)


def plain_page(title: str, text: str) -> bytes:
    """A page of plain words: about, search, not found."""
    return _page(title, [("/", "Home"), (None, title)], "", [f"<h1>{escape(title)}</h1>", f"<p>{text}</p>"], None)


def about_page() -> bytes:
    """The page every page links to."""
    return plain_page("About this site", _ABOUT)


def _page(
    title: str, crumbs: Sequence[tuple[str | None, str]], sidebar: str, parts: Sequence[str], package: Mapping[str, str] | None
) -> bytes:
    navigation = "\n".join(f'<li><a href="{link}">{words}</a></li>' for link, words in _NAVIGATION)
    trail = " &rsaquo; ".join(f'<a href="{link}">{escape(words)}</a>' if link else escape(words) for link, words in crumbs)
    owner = f"{escape(package['name'])} {escape(package['version'])} is distributed under: {escape(package['licence'])}." if package else ""
    content = "\n".join(part for part in parts if part)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{escape(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
</head>
<body>
<header class="site-header">
<a class="logo" href="/">Python package documentation</a>
<nav class="navbar" aria-label="Main"><ul>
{navigation}
</ul></nav>
</header>
<div class="breadcrumb" aria-label="Breadcrumb">{trail}</div>
<div class="layout">
{sidebar}<main id="content" role="main">
<article>
{content}
</article>
</main>
</div>
<footer class="site-footer" role="contentinfo">
<p>{owner} All texts stay under the licences of their packages. Made from docstrings; nothing on this site was written for it.</p>
<p><a href="/about.html">About</a> | <a href="/search/">Search</a> | <a href="#content">Back to top</a></p>
</footer>
</body>
</html>
""".encode()


def _sidebar(package: Mapping[str, str], modules: Sequence[str], current: str) -> str:
    if not modules:
        return ""
    place = modules.index(current) if current in modules else 0
    near = modules[max(0, place - 20) : place + 20]
    return f'<aside class="sidebar"><h3>{escape(package["name"])}</h3>\n{_module_list(package["name"], near, current)}\n</aside>\n'


def _module_list(package: str, modules: Sequence[str], current: str = "") -> str:
    rows = (
        f'<li><a href="/{package}/{name}.html">{escape(name)}</a></li>' if name != current else f"<li>{escape(name)}</li>"
        for name in modules
    )
    return '<ul class="modules">\n' + "\n".join(rows) + "\n</ul>"
