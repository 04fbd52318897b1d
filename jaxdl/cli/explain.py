"""`jaxdl explain`: show what an image network has learned to see."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxdl.caches import keep_programs
from jaxdl.cli.options import (
    PICTURES,
    Subcommands,
    add_finished_run,
    add_force,
    check_creatable,
    home_path,
    require_split,
)
from jaxdl.errors import UserError, printable
from jaxdl.files import existing_run
from jaxdl.terminal import aligned, say

if TYPE_CHECKING:
    import numpy as np

    from jaxdl.inference.explain import Explainer, Strongest
    from jaxdl.inference.loaded import LoadedRun

_UNITS = 9  # shown by default
_MOST_UNITS = 36
_MOST_IMAGES = 20


def add(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "explain",
        help="look inside an image network: filters, units, where it sees a class",
        description="Without images or --layer, list the layers, and draw the filters of the "
        "first convolution to --figure. With --layer, show the image patches that excite its "
        "units most. With images, draw where the network sees a class, by Grad-CAM and gradient.",
        epilog="--config.data.path=PLACE searches another data set of the same kind.",
    )
    command.add_argument(
        "images", nargs="*", metavar="IMAGE", help="images, or folders of images, to draw maps for"
    )
    add_finished_run(command)
    command.add_argument(
        "--layer",
        metavar="NAME",
        help="the layer to show units of, or to use for Grad-CAM (the last)",
    )
    command.add_argument(
        "--units", metavar="N,N,…", help=f"units of the layer to show (the {_UNITS} most active)"
    )
    command.add_argument("--split", metavar="NAME", help="the split to search for patches (test)")
    command.add_argument(
        "--class",
        dest="name",
        metavar="NAME",
        help="the class to draw maps for (the predicted one)",
    )
    command.add_argument(
        "--figure", type=home_path, metavar="FILE", help="the image file to draw to"
    )
    add_force(command)
    command.set_defaults(command=run, overrides_run=True)


def run(options: argparse.Namespace, overrides: list[str]) -> None:
    """Look into a network."""
    units = _check(options, overrides)
    folder = existing_run(options.workdir)
    keep_programs()
    from jaxdl.inference.loaded import load

    loaded = load(folder, best=options.best, trust=options.trust)
    explainer = loaded.explainer
    if options.layer is not None:
        explainer.check_layer(options.layer)
    if options.images:
        _maps(options, loaded)
    elif options.layer is not None:
        _units(options, loaded, units, overrides)
    else:
        _network(options, explainer)


def _check(options: argparse.Namespace, overrides: Sequence[str]) -> list[int] | None:
    """Check the options before anything is loaded, and return the requested units."""
    if options.figure is not None:
        check_creatable(options.figure, "--figure", PICTURES, options.force)
    searches = options.layer is not None and not options.images
    for option, value in (("--units", options.units), ("--split", options.split)):
        if value is not None and not searches:
            remedy = "leave out the images" if options.images else "name one with --layer"
            raise UserError(f"{option}: is for the units of a layer; {remedy}")
    if overrides and not searches:
        raise UserError(
            f"--config.{overrides[0]}: only a search for patches, with --layer, reads data"
        )
    if options.name is not None and not options.images:
        raise UserError("--class: is for maps of images; name the images")
    if options.images and options.figure is None:
        raise UserError("--figure: name the file to draw the maps to, such as maps.png")
    if options.units is None:
        return None
    words = options.units.split(",")
    if not all(word.strip().isdecimal() and word.isascii() for word in words):
        raise UserError(f"--units: expected numbers such as 0,5,7, got {printable(options.units)}")
    if len(words) > _MOST_UNITS:
        raise UserError(f"--units: shows up to {_MOST_UNITS} units, not {len(words)}; name fewer")
    return [int(word) for word in words]


def _network(options: argparse.Namespace, explainer: Explainer) -> None:
    """List the layers, and draw the filters of the first convolution."""
    from jaxdl.figures import filter_grid, save

    filters = None if options.figure is None else explainer.filters()
    fields = explainer.receptive_fields([*explainer.layers])
    rows = [["layer", "outputs", "receptive field"]]
    for name, shape in explainer.layers.items():
        rows.append([name, *("×".join(map(str, sizes)) for sizes in (shape, fields[name].size))])
    for line in aligned(rows):
        say(line)
    if filters is not None:
        save(filter_grid(filters), Path(options.figure))
        name = next(iter(explainer.kernels))
        say(f"the {filters.shape[-1]} filters of {name} are in {options.figure}")


def _units(
    options: argparse.Namespace,
    loaded: LoadedRun,
    units: list[int] | None,
    overrides: Sequence[str],
) -> None:
    """Print and draw what excites the units of a layer most."""
    from jaxdl.figures import save, unit_patches
    from jaxdl.figures.inside import Unit
    from jaxdl.inference.evaluator import other_splits

    explainer = loaded.explainer
    explainer.check_units(options.layer, units)
    splits = other_splits(loaded.parts, overrides)
    split = _split(options.split, splits)
    table = splits[split]
    found = explainer.strongest(table, options.layer, units)
    found = found.most_active(_UNITS) if units is None else found
    told = _commonest(loaded, table, found)
    size = "×".join(map(str, found.size))
    say(f"{options.layer}: patches of {size} pixels, from {len(table):,} {split} images")
    for unit, values, common in zip(found.units, found.values, told, strict=True):
        say(f"unit {unit:4}  {values[0]:.4g} to {values[-1]:.4g}{common and '  ' + common}")
    if options.figure is None:
        return
    drawn = [
        Unit(f"{unit}: {common}" if common else f"{unit}", explainer.images(table, rows), boxes)
        for unit, rows, boxes, common in zip(
            found.units, found.rows, found.boxes, told, strict=True
        )
    ]
    title = f"what excites units of {options.layer} most among {len(table):,} {split} images"
    save(unit_patches(drawn, found.size, title), Path(options.figure))


def _maps(options: argparse.Namespace, loaded: LoadedRun) -> None:
    """Print and draw where the network sees a class in images."""
    from jaxdl.data.images import pixels
    from jaxdl.figures import class_maps, save
    from jaxdl.figures.inside import Explained
    from jaxdl.inference.questions import questions

    explainer = loaded.explainer
    asked = questions(loaded.parts, loaded.predictor.needed, options.images)
    if len(asked.names) > _MOST_IMAGES:
        count = len(asked.names)
        raise UserError(f"IMAGE: draws up to {_MOST_IMAGES} images, not {count}; give fewer")
    maps = explainer.maps(asked.data, name=options.name, layer=options.layer)
    drawn = []
    for i, path in enumerate(asked.names):
        title = f"{explainer.classes[maps.classes[i]]}  {maps.probabilities[i]:.3f}"
        say(f"{printable(path)}  {printable(title)}")
        original = pixels.read(Path(path), maps.images.shape[-1])
        parts = (maps.images[i], maps.grad_cam[i], maps.saliency[i])
        drawn.append(Explained(title, original, *parts))
    save(class_maps(drawn, maps.layer), Path(options.figure))


def _split(name: str | None, splits: Mapping[str, Any]) -> str:
    """The requested split; by default 'test', else 'validation', else the first."""
    if name is None:
        return next(s for s in ("test", "validation", *splits) if s in splits)
    return require_split(name, splits)


def _commonest(loaded: LoadedRun, table: Any, found: Strongest) -> list[str]:
    """The most common class among the examples of each unit, in words, if they have classes."""
    labels: np.ndarray | None = table.columns.get(loaded.parts.task.label)
    names = loaded.explainer.classes
    if not names or labels is None or getattr(labels, "ndim", 0) != 1:
        return [""] * len(found.units)
    counts = [Counter(labels[rows].tolist()).most_common(1)[0] for rows in found.rows]
    of = found.rows.shape[1]
    return [f"{count} of {of} are {printable(names[label])}" for label, count in counts]
