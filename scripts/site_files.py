"""A hook of mkdocs.yml: what the pages of docs/ link to beside docs/ is part of the site.

On disk, and wherever the repository is browsed, docs/figures.md shows
../results/reference/demo.png, and CONTRIBUTING.md points at docs/design.md. The site's root is
docs/, so a page's `../` is taken away there, and so is the `docs/` of a page from the top level.
Such a file is copied to its place. A link to what is not there stays, and mkdocs refuses it.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("CONTRIBUTING.md", "CHANGELOG.md")  # of the top level
OUT = re.compile(r"(?<=\]\()\.\./([^)#\s]+)")  # of docs/: ](../path
INTO = re.compile(r"(?<=\]\()docs/")  # of the top level: ](docs/path


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of the top level, and each file that a page of docs/ links to."""
    linked = {path for page in Path(config.docs_dir).glob("*.md") for path in OUT.findall(page.read_text())}
    for path in sorted({*PAGES, *linked}):
        if (ROOT / path).is_file():
            files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with its links as the site has them."""
    if page.file.src_uri in PAGES:
        return INTO.sub("", markdown)
    return OUT.sub(lambda found: found[1] if files.get_file_from_path(found[1]) else f"../{found[1]}", markdown)
