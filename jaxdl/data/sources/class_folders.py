"""Files in folders by class: which file is of which class, and in which split."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxdl.data.sources.box_files import inside
from jaxdl.data.splits import NAMES, ROLES, UNSPLIT_TEST, fill_up, role_in
from jaxdl.data.user_files import below, is_data, only_folder, same_name
from jaxdl.data.validation import tell_alike
from jaxdl.errors import UserError, brief, some

_log = logging.getLogger("jaxdl")

_TESTS = {name: role for name, role in ROLES.items() if role == "test"}
# Folders that nobody has labelled, as in the reviews of Maas et al. 2011.
_UNLABELLED = ("unsup", "unsupervised", "unlabeled", "unlabelled")

Labelled = Sequence[tuple[str, str]]  # each file's path below the root, and its class


@dataclass(frozen=True)
class ClassFolders:
    """Files in `root/train/CLASS/…`, `root/test/CLASS/…`, `root/val/CLASS/…`, or `root/CLASS/…`.

    Attributes:
      root: the folder.
      source: the name of the source that reads it, for messages.
      noun: what a file is, such as 'image'.
      suffixes: of files that are certainly such.
      takes: whether a file in the folder of a class is such, by its name; others are left out, and
        a warning names them.
      strays: whether such files may lie beside the folders; they are left out, too.
      of_others: end of the name of a file that belongs to the file without it, as x_mask.png does
        to x.png; such are left out, with a warning.
    """

    root: Path
    source: str
    noun: str
    suffixes: tuple[str, ...]
    takes: Callable[[str], bool]
    strays: bool = False
    of_others: re.Pattern[str] | None = None

    def split(
        self,
        splits: Mapping[str, str] | None,
        test_fraction: float | None,
        validation_fraction: float | None,
    ) -> dict[str, Labelled]:
        """The files of each split, by its folder or else by a hash of their paths.

        Args:
          splits: role -> folder; {} if all folders are classes; by default those with usual names.
          test_fraction: expected share of the test split, where there is no folder for it. By
            default 0.2 of `root/CLASS/…`, and 0 of `root/train/…`.
          validation_fraction: likewise for the validation split; by default 0.

        Raises:
          UserError: a folder is missing or empty, there are no classes, or a fraction is wrong.
        """
        given = self._by_folder(splits)
        if not given:
            given = {"train": self._labelled(all_are_classes=splits is not None)}
            test_fraction = UNSPLIT_TEST if test_fraction is None else test_fraction
        return self.hold_out(given, test_fraction, validation_fraction)

    def hold_out(
        self,
        given: Mapping[str, Labelled],
        test_fraction: float | None,
        validation_fraction: float | None,
    ) -> dict[str, Labelled]:
        """The given splits, and those held out from the train split by a hash of the paths."""
        parts = fill_up(
            given, lambda item: item[0], test_fraction, validation_fraction, self.source
        )
        parts = self._each_class_in_train(parts, given.keys() - {"train"})
        classes = sorted({name for _, name in parts["train"]})
        tell_alike(classes, f"{self.source}: {self.root}")
        return parts

    def _each_class_in_train(
        self, parts: Mapping[str, Labelled], given: Collection[str]
    ) -> dict[str, Labelled]:
        """The splits, but files of a class of which the hash left none in train are all there.

        Args:
          parts: by role.
          given: the roles that have folders, whose files stay.
        """
        known, moved = {name for _, name in parts["train"]}, dict[str, Labelled]()
        for role in parts.keys() - given - {"train"}:
            moved[role] = [item for item in parts[role] if item[1] not in known]
        strays = [item for items in moved.values() for item in items]
        if not strays:
            return {**parts}
        names = sorted({name for _, name in strays})
        _log.warning(
            "%s: there are so few %ss of %s that all are in the train split",
            self.source,
            self.noun,
            some([brief(name) for name in names], between=", "),
        )
        gone = {*strays}
        left = {role: [item for item in parts[role] if item not in gone] for role in moved}
        return {**parts, **left, "train": sorted([*parts["train"], *strays])}

    def _by_folder(self, splits: Mapping[str, str] | None) -> dict[str, Labelled]:
        """The splits that have folders, by role; empty if the folders are classes."""
        if splits is not None:
            return {role: self._labelled(folder) for role, folder in self._named(splits).items()}
        folders = self._visible(self.root, os.DirEntry.is_dir)
        roles = {folder.name: role for folder in folders if (role := self._role(folder))}
        if "train" not in roles.values():
            return {}
        folders = self._labelled_ones(folders, role_in)
        folders = [f for f in folders if f.name in roles or below(Path(f), self.suffixes)]
        roles = {f.name: roles[f.name] for f in folders if f.name in roles}
        if len(roles) < len(folders):
            stranger = next(folder for folder in folders if folder.name not in roles)
            raise UserError(
                f"{self.source}: {stranger.path} is next to {self.root / [*roles][-1]}; the "
                f"folders must be either all splits ({', '.join(ROLES)}) or all classes: set "
                "splits={} if they are classes, or name those that are splits, "
                "splits={'train': …}"
            )
        named: dict[str, Labelled] = {}
        for name, role in roles.items():
            if role in named:
                raise UserError(
                    f"{self.source}: {self.root / name} is a second {role} split; keep one"
                )
            named[role] = self._labelled(name)
        return named

    def _labelled_ones(
        self, folders: list[os.DirEntry[str]], role: Callable[[str], str | None], remedy: str = ""
    ) -> list[os.DirEntry[str]]:
        """The folders without those whose files have no class; a warning names these.

        They are called unlabelled or so, or as a split other than train without holding folders.

        Args:
          folders: to choose from.
          role: the split that a name is of, if any.
          remedy: what to do if one is a class, for the warning.
        """

        def is_bare(folder: os.DirEntry[str]) -> bool:
            return role(folder.name) in ("validation", "test") and not any(
                self._visible(Path(folder), os.DirEntry.is_dir)
            )

        left = [f for f in folders if f.name.lower() in _UNLABELLED or is_bare(f)]
        left = [folder for folder in left if below(Path(folder), self.suffixes)]
        if left:
            _log.warning(
                "%s: left out %s, whose %ss are of no class%s",
                *(self.source, some([f.path for f in left], 3, ", "), self.noun, remedy),
            )
        return [folder for folder in folders if folder not in left]

    def _role(self, folder: os.DirEntry[str]) -> str | None:
        """The split that a folder is by its name, or by a word in it if it holds folders alone."""
        if usual := ROLES.get(folder.name.lower()):
            return usual
        inside = self._visible(Path(folder), lambda entry: True)
        alone = inside and all(e.is_dir() or not self.takes(e.name) for e in inside)
        return role_in(folder.name) if alone and any(e.is_dir() for e in inside) else None

    def _named(self, splits: Mapping[str, str]) -> Mapping[str, str]:
        """The folders of splits that the user names; refuses other roles."""
        if splits and not {"train"} <= {*splits} <= {*NAMES}:
            raise UserError(
                f"{self.source}: splits={brief(dict(splits))}; name the folder of 'train', and of "
                "'validation' and 'test' if there are any, or write {} if all folders are classes"
            )
        where = f"{self.source}: splits"
        return {role: inside(folder, where) for role, folder in splits.items()}

    def _labelled(self, split: str = "", all_are_classes: bool = True) -> Labelled:
        """The files in the class folders of a split, in alphabetical order.

        Args:
          split: the folder of the split, below the root.
          all_are_classes: a folder that is called test, say, is one, too.
        """
        if split and (inner := only_folder(self.root / split)):  # as seg_train/seg_train
            split = os.path.join(split, inner.name)
        folder = self.root / split
        others = self._beside(folder, split)
        classes = self._visible(folder, os.DirEntry.is_dir)
        classes = self._labelled_ones(
            classes,
            lambda name: None if all_are_classes else _TESTS.get(name.lower()),
            "" if all_are_classes else "; set splits={} if it is one",
        )
        if not classes:
            leave = ", or name the splits that have such, splits={'train': …}" if split else ""
            raise UserError(
                f"{self.source}: {folder} has no folders; each class needs one with its "
                f"{self.noun}s{leave}"
            )
        labelled = []
        for each in classes:
            files, beside = self._files(Path(each), split)
            others += beside
            name = same_name(each.name)
            labelled += [(os.path.join(split, each.name, file), name) for file in files]
        if others:
            told = some(sorted(others), 3, ", ")
            _log.warning(
                "%s: left out files that do not look like %ss of a class: %s",
                *(self.source, self.noun, told),
            )
        return labelled

    def _files(self, folder: Path, split: str) -> tuple[list[str], list[str]]:
        """The names of the files in the folder of a class, and the paths of what else is in it."""
        entries = self._visible(folder, lambda entry: True)
        stems = {Path(entry.name).stem for entry in entries}
        beside = [e.path for e in entries if e.is_file() and not self._is_example(e.name, stems)]
        left_out = {*beside}
        entries = [entry for entry in entries if entry.path not in left_out]
        if not entries and (role_in(split) or "train") == "train":
            raise UserError(
                f"{self.source}: {folder} is empty; add {self.noun}s of its class or remove it"
            )
        for file in entries:
            if file.is_dir():
                raise UserError(
                    f"{self.source}: {file.path} is a folder in that of a class, which holds "
                    f"{self.noun}s; move it"
                    + ("" if split else f", or, if {folder.name} is a split, name it: "
                       f"splits={{'train': {folder.name!r}, …}}")
                )  # fmt: skip
        return [file.name for file in entries], beside

    def _is_example(self, name: str, stems: Collection[str]) -> bool:
        """Whether a file is an example by its name, and of no other of these names."""
        stem = Path(name).stem
        owner = stem if self.of_others is None else self.of_others.sub("", stem)
        return self.takes(name) and (owner == stem or owner not in stems)

    def _beside(self, folder: Path, split: str) -> list[str]:
        """The files beside the folders of classes that would be examples in one of them."""
        strays = [Path(e) for e in self._visible(folder, os.DirEntry.is_file)]
        strays = [stray for stray in strays if stray.suffix.lower() in self.suffixes]
        if strays and not self.strays:
            raise UserError(
                f"{self.source}: {strays[0]} is not in the folder of a class; move it there"
                + (
                    f", or set splits={{'train': 'train'}} to leave {split} out, or splits={{}} if "
                    "the folders are classes"
                    if split
                    else ""
                )
            )
        return [*map(str, strays)]

    def _visible(
        self, folder: Path, kind: Callable[[os.DirEntry[str]], bool]
    ) -> list[os.DirEntry[str]]:
        """The entries of a kind, by name. Their kind is known; a `Path` would ask the disk."""
        if not folder.is_dir():
            raise UserError(
                f"{self.source}: no folder {folder}; give one with a folder for each class"
            )
        with os.scandir(folder) as entries:
            matches = [entry for entry in entries if is_data(entry.name) and kind(entry)]
        return sorted(matches, key=lambda entry: entry.name)

    def require_examples(self, parts: Mapping[str, Labelled], classes: Sequence[str]) -> None:
        """Refuse a class without a file in the train split, and an empty split.

        Args:
          parts: the files that can be read, by role.
          classes: of all files.

        Raises:
          UserError: with the class or the split.
        """
        if empty := sorted({*classes} - {name for _, name in parts["train"]}):
            raise UserError(
                f"{self.source}: class {empty[0]!r} has no readable {self.noun} in the train split "
                f"({self.root})"
            )
        known = {*classes}
        for role, files in parts.items():
            if not files:
                raise UserError(
                    f"{self.source}: no {self.noun} of {self.root} is in the {role} split; raise "
                    f"its fraction, set it to 0, or add {self.noun}s"
                )
            for name, count in Counter(name for _, name in files).items():
                if name not in known:
                    raise UserError(
                        f"{self.source}: class {name!r} has {count} {self.noun}s in the {role} "
                        f"split but none in the train split ({self.root}); add some there"
                    )
