"""Links out of docs/ lead to pages of the site that show the file or folder of the repository.

So one link serves whoever reads the Markdown in the repository and whoever reads the site.
README.md, CONTRIBUTING.md and CHANGELOG.md become pages like those of docs/.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel

BESIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
}
"""Pages that lie beside docs/, and their places on the site."""
LINK = re.compile(r"(?<=\]\()(?P<path>[^)\s#:]+)(?=[)#])")
CODE = ".py"
SOURCE = """---
search:
  exclude: true
---
# {path}

````{language}
{text}
````
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages beside docs/, and one for every file and folder that a page links to."""
    root = Path(config.docs_dir).parent
    for path, uri in BESIDE.items():
        files.append(File.generated(config, uri, content=(root / path).read_text("utf-8")))
    places = {uri: path for path, uri in BESIDE.items()}
    waiting = list(files.documentation_pages())
    while waiting:
        page = waiting.pop()
        place = places.get(page.src_uri, f"docs/{page.src_uri}")
        text, linked = led_into_the_site(page.content_string, page.src_uri, place)
        page.content_string = text
        for path in sorted(linked):
            if files.get_file_from_path(uri := uri_of(path)) is None:
                content = listing(root, path) if (root / path).is_dir() else source(root, path)
                shown = File.generated(
                    config, uri, content=content, inclusion=InclusionLevel.NOT_IN_NAV
                )
                files.append(shown)
                if not path.endswith(CODE):
                    places[uri] = path
                    waiting.append(shown)
    return files


def led_into_the_site(text: str, uri: str, place: str) -> tuple[str, set[str]]:
    """Change the links of a page; also return which files of the repository need a page.

    Args:
        text: the page's Markdown.
        uri: where the page is on the site.
        place: where the page is in the repository.
    """
    linked = set()

    def led(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(place), found["path"]))
        if not path.startswith("docs/") and path not in BESIDE:
            linked.add(path)
        return posixpath.relpath(uri_of(path), posixpath.dirname(uri) or ".")

    return LINK.sub(led, text), linked


def uri_of(path: str) -> str:
    """Say where a file of the repository is shown; a page of the lecture is a program in docs/."""
    if path in BESIDE:
        return BESIDE[path]
    if path.startswith("docs/"):
        uri = path.removeprefix("docs/")
        return uri.removesuffix(CODE) + ".md" if uri.endswith(CODE) else uri
    return f"source/{path.removesuffix('.md')}.md"


def source(root: Path, path: str) -> str:
    """Show a file: Markdown as the page that it is, others as they are."""
    text = (root / path).read_text("utf-8")
    suffix = path.rpartition(".")[2]
    return text if suffix == "md" else SOURCE.format(path=path, language=suffix, text=text)


def listing(root: Path, path: str) -> str:
    """Show a folder: its files, with links to the programs."""
    names = sorted(child.name for child in (root / path).iterdir() if child.name[0] not in "_.")
    folder = posixpath.basename(path)
    rows = [f"[{name}]({folder}/{name})" if name.endswith(CODE) else name for name in names]
    return "\n".join((f"# {path}", "", *(f"* {row}" for row in rows), ""))
