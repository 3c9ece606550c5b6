"""A section of the navigation that begins with the index of a folder gets its other pages."""

import posixpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Append the pages of a folder, in the order of their names, to the section of its index."""
    pages = sorted(file.src_uri for file in files.documentation_pages())
    for entry in config.nav or []:
        for section in entry.values():
            if isinstance(section, list):
                folder = posixpath.dirname(section[0])
                section += [
                    page
                    for page in pages
                    if posixpath.dirname(page) == folder and page not in section
                ]
    return files
