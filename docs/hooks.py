"""Hooks of mkdocs: add the files that pages link to, and convert formulas to MathML.

A page links to any file of the repository as it does on disk (`../config/README.md`). The file becomes part of the
site, under repository/; a markdown file becomes a page, whose links are followed in turn. Formulas, `$…$` and `$$…$$`,
are converted here, so that showing them needs no script from elsewhere.

    mkdocs build        # reads mkdocs.yml, which names this file; writes site/
"""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
FORMULA = re.compile(r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<tex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL)
ADDED_FOLDER = "repository"


def find_links(markdown: str) -> Iterator[re.Match[str]]:
    """The relative links of a page, except those in code."""
    code = [match.span() for match in CODE.finditer(markdown)]
    for match in LINK.finditer(markdown):
        if not any(start <= match.start() < end for start, end in code):
            yield match


def resolve_target(page: PurePosixPath, link: str) -> PurePosixPath:
    """The repository file that a link on `page` means; a folder means its README."""
    path = PurePosixPath(os.path.normpath(page.parent / link))
    return path / "README.md" if (ROOT / path).is_dir() else path


def map_to_site(path: PurePosixPath) -> PurePosixPath:
    """Path of a repository file in the site's sources."""
    return path.relative_to("docs") if path.is_relative_to("docs") else ADDED_FOLDER / path


def map_to_repository(uri: str) -> PurePosixPath:
    """Path in the repository of a file in the site's sources."""
    path = PurePosixPath(uri)
    return path.relative_to(ADDED_FOLDER) if path.is_relative_to(ADDED_FOLDER) else "docs" / path


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the files outside docs/ that the navigation and pages name, and what those link to."""

    def follow(page: PurePosixPath) -> None:
        for link in find_links((ROOT / page).read_text(encoding="utf-8")):
            bring(resolve_target(page, link[1]), page)

    def bring(path: PurePosixPath, source: object) -> None:
        uri = str(map_to_site(path))
        if files.get_file_from_path(uri) is not None:
            return
        if not (ROOT / path).is_file():
            raise PluginError(f"{source}: there is no {path}")
        at = str(ROOT / path)
        files.append(File.generated(config, uri, abs_src_path=at, inclusion=InclusionLevel.NOT_IN_NAV))
        if path.suffix == ".md":
            follow(path)

    for page in list(files.documentation_pages()):
        follow(map_to_repository(page.src_uri))
    for named in re.findall(rf"{ADDED_FOLDER}/([^'\"]+)", str(config.nav)):
        bring(PurePosixPath(named), "mkdocs.yml")
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Rewrites links to their paths in the site."""
    uri = PurePosixPath(page.file.src_uri)
    source, pieces, end = map_to_repository(str(uri)), [], 0
    for match in find_links(markdown):
        path = os.path.relpath(map_to_site(resolve_target(source, match[1])), uri.parent)
        pieces += [markdown[end : match.start()], path, match[2] or ""]
        end = match.end()
    return "".join([*pieces, markdown[end:]])


def on_page_content(content: str, **_: object) -> str:
    """Converts formulas to MathML."""

    def convert_formula(match: re.Match[str]) -> str:
        display = "block" if match["tag"] == "div" else "inline"
        return convert(html.unescape(match["tex"]), display=display)

    return FORMULA.sub(convert_formula, content)
