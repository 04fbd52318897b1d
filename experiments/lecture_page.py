"""The page that `lecture.py` writes: HTML that needs no other file, and Markdown."""

import base64
import html
import os
from pathlib import Path
from typing import NamedTuple


class Entry(NamedTuple):
    """What the page says of a system.

    Attributes:
      name: of the config or script.
      about: what it is, in a line.
      command: what was run.
      published: the published number and its source, or ''.
      ours: what was reached, or why there is nothing.
      met: 'met', 'not met' or ''.
      details: what a study printed.
      picture: a PNG file, if there is one.
    """

    name: str
    about: str
    command: str
    published: str
    ours: str
    met: str = ""
    details: str = ""
    picture: Path | None = None


STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 2rem auto;
       padding: 0 1rem }
h2 { margin-top: 3rem; border-bottom: 1px solid #ccc }
section { margin: 2rem 0 }
section > h3 { margin-bottom: 0 }
img { max-width: 100%; max-height: 24rem; display: block; margin: 1rem 0 }
pre, code { font: 13px/1.4 ui-monospace, monospace; background: #f5f5f5 }
pre { padding: .6rem; overflow-x: auto }
dl { display: grid; grid-template-columns: 6rem 1fr; margin: .5rem 0 } dd { margin: 0 }
.met { color: #186a3b } .not { color: #a93226 }
"""


def as_html(chapters: dict[str, list[Entry]], left: str) -> str:
    """One file that needs no other."""
    body = [f"<h1>The lecture, system by system</h1><p>{html.escape(left)}.</p>"]
    for number, (chapter, systems) in enumerate(chapters.items(), 1):
        body.append(f"<h2>{number} {html.escape(chapter)}</h2>")
        for entry in systems:
            safe = {key: html.escape(str(value or "–")) for key, value in entry._asdict().items()}
            mark = f' <b class="{entry.met.split()[0]}">{safe["met"]}</b>' if entry.met else ""
            body.append(
                f"<section><h3>{safe['name']}</h3><p>{safe['about']}</p>"
                f"<dl><dt>command</dt><dd><code>{safe['command']}</code></dd>"
                f"<dt>published</dt><dd>{safe['published']}</dd>"
                f"<dt>here</dt><dd>{safe['ours']}{mark}</dd></dl>"
            )
            if entry.picture:
                data = base64.b64encode(entry.picture.read_bytes()).decode()
                body.append(f'<img alt="{safe["name"]}" src="data:image/png;base64,{data}">')
            if entry.details:
                body.append(f"<pre>{safe['details']}</pre>")
            body.append("</section>")
    head = f'<meta charset="utf-8"><title>The lecture</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>'


def as_markdown(chapters: dict[str, list[Entry]], left: str, folder: Path) -> str:
    """A table a chapter, what its studies print, and the pictures."""

    def cell(text: str) -> str:
        return text.replace("|", r"\|").replace("\n", " ") or "–"

    lines = ["# The lecture, system by system", "", f"{left}."]
    for number, (chapter, systems) in enumerate(chapters.items(), 1):
        lines += ["", f"## {number} {chapter}", ""]
        lines += ["| system | command | published | here | |", "|---|---|---|---|---|"]
        for entry in systems:
            words = (f"`{entry.command}`", entry.published, entry.ours, entry.met)
            lines.append(f"| {' | '.join(cell(word) for word in (entry.name, *words))} |")
        for entry in systems:
            if entry.details:
                lines += ["", *(f"    {line}" for line in entry.details.splitlines())]
            if entry.picture:
                lines += ["", f"![{entry.name}]({os.path.relpath(entry.picture, folder)})"]
    return "\n".join(lines) + "\n"
