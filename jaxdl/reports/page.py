"""One self-contained HTML page about runs or a sweep."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from jaxdl import config as cfg
from jaxdl.errors import UserError, printable
from jaxdl.figures import drawn
from jaxdl.reports.compare import curves
from jaxdl.reports.saved_runs import (
    Rows,
    SavedRun,
    chosen_metric,
    differences,
    results,
    shown,
    table,
)
from jaxdl.sweeps.table import cell
from jaxdl.tree import leaves

_LONGEST = 2_000  # characters of a value
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a202c; max-width: 70rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem;
     border-bottom: 1px solid #cbd5e0; } h3 { font-size: 1rem; margin-bottom: .3rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .2rem .9rem .2rem 0;
         border-bottom: 1px solid #e2e8f0; overflow-wrap: anywhere; }
thead th { border-bottom: 2px solid #718096; }
tbody th { font-weight: normal; color: #4a5568; white-space: nowrap; }
img { max-width: 100%; height: auto; }
figure { margin: 1rem 0; } figcaption { color: #4a5568; }
summary { cursor: pointer; color: #2b6cb0; }
.good { color: #2f855a; } .bad { color: #c53030; }
"""


@dataclass
class _Point:
    """A row of the table in sweep.json."""

    point: str
    metrics: dict[str, dict[str, Any]]


@dataclass
class _Sweep:
    """What sweep.json holds, as far as it is shown."""

    table: list[_Point] = field(default_factory=list)
    folds: int | None = None


def page(
    runs: Sequence[SavedRun],
    title: str,
    metric: str | None = None,
    sweeps: Sequence[Path] = (),
) -> str:
    """The page, in HTML. It loads nothing from elsewhere, and has no script.

    Args:
      runs: the runs.
      title: its heading.
      metric: to draw; by default a target's, or the first that is not a loss.
      sweeps: the directories of the sweeps among them.

    Raises:
      UserError: a run has not measured the requested metric.
    """
    body = [
        f"<h1>{_text(title)}</h1>",
        *(part for folder in sweeps for part in _sweep(folder)),
        *_results(runs),
        *_curves(runs, metric),
        *_differences(runs),
        *(part for each in runs for part in _run(each)),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # Whatever a name in a run holds, a browser loads and runs nothing.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "img-src data:; style-src 'unsafe-inline'\">\n"
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _results(runs: Sequence[SavedRun]) -> Iterator[str]:
    yield "<h2>Results</h2>"
    yield _table(*table(runs, results(runs)))


def _curves(runs: Sequence[SavedRun], metric: str | None) -> Iterator[str]:
    yield "<h2>Curves</h2>"
    try:
        drawn = chosen_metric(runs, metric)
    except UserError as error:
        if metric is not None:
            raise
        yield f"<p>Not drawn: {_text(error)}.</p>"
        return
    png = io.BytesIO()
    curves(runs, drawn).savefig(png, format="png", dpi=120)
    yield _figure(png.getvalue(), f"training loss, and {drawn}")


def _differences(runs: Sequence[SavedRun]) -> Iterator[str]:
    if len(runs) > 1:
        yield "<h2>Differences of the configs</h2>"
        rows = differences(runs)
        yield _table(*table(runs, rows)) if rows else "<p>None.</p>"


def _sweep(folder: Path) -> Iterator[str]:
    """The table and the figure of a sweep, once it has ended."""
    saved = cfg.read_json(folder / "sweep.json", _Sweep)
    over = "folds" if saved.get("folds") else "seeds"
    yield f"<h2>{_text(folder.name)}: mean ± sample standard deviation over {over}</h2>"
    points = saved.get("table", ())
    metrics = dict.fromkeys(name for point in points for name in point["metrics"])
    rows = [
        (point["point"] or "all", [cell(point["metrics"].get(name)) for name in metrics])
        for point in points
    ]
    yield _table([*metrics], rows) if rows else "<p>It has not ended.</p>"
    yield from _drawn(folder / "figures")


def _run(each: SavedRun) -> Iterator[str]:
    folder = each.run.folder
    yield f"<h2>{_text(each.name)}</h2>"
    kind = "bad" if "NOT" in each.verdict or each.result is None else "good"
    yield f'<p class="{kind}">{_text(each.verdict)}</p>'
    target = (each.result or {}).get("target")
    if target:
        yield f"<p>The target was published in: {_text(target['source'])}</p>"
    yield from _drawn(each.run.figures)
    for name in ("tables", "environment"):
        if (folder / f"{name}.json").exists():
            yield from _details(name, cfg.read_json(folder / f"{name}.json"))
    yield from _details("config", each.config)


def _drawn(folder: Path) -> Iterator[str]:
    return (_figure(file.read_bytes(), name) for name, file in drawn(folder).items())


def _figure(png: bytes, caption: str) -> str:
    data = base64.b64encode(png).decode()
    shown_caption = _text(caption)
    return (
        f'<figure><img alt="{shown_caption}" src="data:image/png;base64,{data}">'
        f"<figcaption>{shown_caption}</figcaption></figure>"
    )


def _details(name: str, value: Any) -> Iterator[str]:
    """A value in full, folded away."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    rows = [(key, [shown(leaf, _LONGEST)]) for key, leaf in leaves(value)]
    whole = _table([], rows) if len(text) < 200_000 else "<p>Too large to be shown.</p>"
    yield f"<details><summary>{_text(name)}</summary>{whole}</details>"


def _table(heads: Sequence[str], rows: Rows) -> str:
    """A table whose first column says what each row is."""
    head = "".join(f"<th>{_text(name)}</th>" for name in ("", *heads))
    body = "".join(
        f"<tr><th>{_text(name)}</th>{''.join(f'<td>{_text(c)}</td>' for c in cells)}</tr>\n"
        for name, cells in rows
    )
    top = f"<thead><tr>{head}</tr></thead>" if heads else ""
    return f'<div class="wide"><table>{top}<tbody>\n{body}</tbody></table></div>'


def _text(text: object) -> str:
    """Text of others: printable, and escaped for HTML and its attributes."""
    return escape(printable(text, _LONGEST), quote=True)
