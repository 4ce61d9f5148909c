"""What mkdocs does beside its own work here: files of the repository come along, and formulas become MathML.

A page links to any file of the repository as it does on disk (`../config/README.md`). The file then becomes part of the
site, under repository/; of a markdown file, as a page, the links are followed in turn. Formulas, `$…$` and `$$…$$`, are
converted here, so that no script has to be fetched to show them.

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
BROUGHT = "repository"


def links(markdown: str) -> Iterator[re.Match[str]]:
    """The relative links of a page, but for those in code."""
    code = [match.span() for match in CODE.finditer(markdown)]
    for match in LINK.finditer(markdown):
        if not any(start <= match.start() < end for start, end in code):
            yield match


def target(page: PurePosixPath, link: str) -> PurePosixPath:
    """The file that a link means, in the repository; `page` lies there, too. A folder means its README."""
    path = PurePosixPath(os.path.normpath(page.parent / link))
    return path / "README.md" if (ROOT / path).is_dir() else path


def in_site(path: PurePosixPath) -> PurePosixPath:
    """Where a file of the repository lies in the site's sources."""
    return path.relative_to("docs") if path.is_relative_to("docs") else BROUGHT / path


def in_repository(uri: str) -> PurePosixPath:
    """The other way round."""
    path = PurePosixPath(uri)
    return path.relative_to(BROUGHT) if path.is_relative_to(BROUGHT) else "docs" / path


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds what the navigation and pages name outside of docs/, and what those link to."""

    def follow(page: PurePosixPath) -> None:
        for link in links((ROOT / page).read_text(encoding="utf-8")):
            bring(target(page, link[1]), page)

    def bring(path: PurePosixPath, source: object) -> None:
        uri = str(in_site(path))
        if files.get_file_from_path(uri) is not None:
            return
        if not (ROOT / path).is_file():
            raise PluginError(f"{source}: there is no {path}")
        at = str(ROOT / path)
        files.append(File.generated(config, uri, abs_src_path=at, inclusion=InclusionLevel.NOT_IN_NAV))
        if path.suffix == ".md":
            follow(path)

    for page in list(files.documentation_pages()):
        follow(in_repository(page.src_uri))
    for named in re.findall(rf"{BROUGHT}/([^'\"]+)", str(config.nav)):
        bring(PurePosixPath(named), "mkdocs.yml")
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Links as they have to be in the site."""
    uri = PurePosixPath(page.file.src_uri)
    here, pieces, end = in_repository(str(uri)), [], 0
    for match in links(markdown):
        there = os.path.relpath(in_site(target(here, match[1])), uri.parent)
        pieces += [markdown[end : match.start()], there, match[2] or ""]
        end = match.end()
    return "".join([*pieces, markdown[end:]])


def on_page_content(content: str, **_: object) -> str:
    """Formulas as MathML."""
    return FORMULA.sub(
        lambda found: convert(html.unescape(found["tex"]), display="block" if found["tag"] == "div" else "inline"),
        content,
    )
