"""What the site's build adds to the pages of this folder; mkdocs.yml names this file.

The notebooks as they are saved, with their figures; CONTRIBUTING.md and CHANGELOG.md as pages; a link from each key
that a page names to its row on the page of keys. Links in the files are those of the repository. The build fails if a page would load anything from the network.
"""

from __future__ import annotations

import base64
import json
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
KEYS_PAGE = "keys.md"
TOP = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
_KEY = re.compile(r'(?<!">)<code>([A-Z][A-Z0-9_]+)(=[^<]*)?</code>')
_ROW = re.compile(r"<td>(<code>([A-Z][A-Z0-9_]+)</code>)</td>")
_ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):(?=<code>)")
_PAIR = re.compile(r"<b><code>(?:<[^>]*>)?(\w+),(?:</\w+>)?</code></b>\s*\(<code>(.*?)</code>\)", re.DOTALL)
_LOADED = re.compile(r"""<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=["']?(https?:|//)[^>]*>""")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Pages whose text is elsewhere in the repository."""
    from mkdocs.structure.files import File

    for name, source in TOP.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text(encoding="utf-8")))
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        text, figures = page_of(notebook)
        files.append(File.generated(config, f"notebooks/{notebook.stem}.md", content=text))
        for name, image in figures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=image))
    return files


def page_of(notebook: Path) -> tuple[str, dict[str, bytes]]:
    """A saved notebook as Markdown, and its figures by file name."""
    parts: list[str] = []
    figures: dict[str, bytes] = {}
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data: dict[str, Any] = output.get("data", {})
            if "image/png" in data:
                name = f"{notebook.stem}_{len(figures) + 1}.png"
                figures[name] = base64.b64decode(data["image/png"])
                parts.append(f"![What the cell above shows]({name})")
            else:
                text = "".join(output.get("text") or data["text/plain"]).rstrip()
                parts.append(f"```text\n{text}\n```")
    parts.insert(1, f"This page is `notebooks/{notebook.name}` as it was saved; it runs as it is.")
    return "\n\n".join(parts) + "\n", figures


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links that are right in the repository, and those of files from the top of it."""
    for name, source in TOP.items():
        markdown = markdown.replace(f"](../{source})", f"]({name})")
    return markdown.replace("](docs/", "](") if page.file.src_uri in TOP else markdown


def key_names(page: str) -> set[str]:
    """The keys that have a row in the tables of the page of keys."""
    return set(re.findall(r"^\| `([A-Z][A-Z0-9_]+)` \|", page, re.M))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Keys are anchors on their page, and links to it elsewhere."""
    here = page.file.src_uri
    if here == KEYS_PAGE:
        seen: set[str] = set()

        def anchored(found: re.Match[str]) -> str:
            new = found[2] not in seen  # a key may have a row for each of some benchmarks
            seen.add(found[2])
            return f'<td id="{found[2]}">{found[1]}</td>' if new else found[0]

        return _ROW.sub(anchored, html)
    source = files.get_file_from_path(KEYS_PAGE)
    assert source is not None
    names = key_names(source.content_string)
    to = posixpath.relpath(source.dest_uri, posixpath.dirname(page.file.dest_uri) or ".")

    def linked(found: re.Match[str]) -> str:
        if found[1] not in names:
            return found[0]
        return f'<a class="key" href="{to}#{found[1]}">{found[0]}</a>'

    html = _PAIR.sub(lambda m: f"<b><code>{m[1]}, {re.sub('<[^>]*>|[()]', '', m[2])}</code></b>", html)  # two in a line
    return _ROLE.sub("", _KEY.sub(linked, html))


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Raises where a page would load something from the network."""
    found = _LOADED.search(output)
    if found:
        raise SystemExit(f"{page.file.src_uri} would load {found[0]} from the network")
    return output
