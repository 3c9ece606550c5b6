"""A section of the navigation that begins with the index of a folder gets its other pages."""

import posixpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Append the pages of a folder to the section of its index, in the order of the index."""
    for entry in config.nav or []:
        for section in entry.values():
            if isinstance(section, list):
                section += pages_beside(section[0], files)
    return files


def pages_beside(index: str, files: Files) -> list[str]:
    """List the pages in the folder of an index, in the order in which it names them."""
    text = files.src_uris[index].content_string
    folder = posixpath.dirname(index)
    pages = [file.src_uri for file in files.documentation_pages() if file.src_uri != index]
    beside = [page for page in pages if posixpath.dirname(page) == folder]
    return sorted(beside, key=lambda page: text.find(f"({posixpath.basename(page)})"))
