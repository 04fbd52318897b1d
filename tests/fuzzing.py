"""Mutants of sound files, and what has to become of them: a result, or one line to the user."""

import random
from collections.abc import Callable, Iterator, Sequence

from jaxdl.errors import UserError

_NUMBERS = [n.to_bytes(size, "little") for size in (1, 2, 4, 8) for n in (0, 1, 1 << 8 * size - 1)]
_NUMBERS += [b"\xff" * size for size in (1, 2, 4, 8)]  # -1, or the largest


def mutants(content: bytes, number: int, seed: int) -> Iterator[bytes]:
    """Copies of a file with one to four faults each: bits, numbers, cuts and transplants."""
    rng = random.Random(seed)
    for _ in range(number):
        mutant = bytearray(content)
        for _ in range(rng.choice((1, 1, 2, 4))):
            rng.choice((_flip, _overwrite, _cut, _delete, _transplant))(mutant, rng)
        yield bytes(mutant)


def shuffled(pieces: Sequence[bytes], number: int, seed: int) -> Iterator[bytes]:
    """The same of a file of pieces, such as opcodes or words, of which each stays whole."""
    rng = random.Random(seed)
    for _ in range(number):
        mutant = list(pieces)
        for _ in range(rng.choice((1, 1, 2, 4))):
            a, b = rng.randrange(len(mutant)), rng.randrange(len(mutant))
            match rng.randrange(4):
                case 0 if len(mutant) > 1:
                    del mutant[a]
                case 1:
                    mutant[a], mutant[b] = mutant[b], mutant[a]
                case 2:
                    mutant[a] = rng.choice(pieces)
                case _:
                    mutant[a:a] = [rng.choice(pieces)] * rng.choice((1, 1, 1, 1000))
        yield b"".join(mutant)


def message(read: Callable[[], object]) -> str | None:
    """What the user is told: one line, or nothing if it can be read; else the test fails."""
    try:
        read()
    except UserError as error:
        told = str(error)
        assert told.isprintable() and len(told) < 1000, told
        assert "violates type hint" not in told, told  # beartype's, which finds faults of ours
        assert "ype-check" not in told, told  # jaxtyping's
        return told
    return None


def _place(mutant: bytearray, rng: random.Random, most: int = 64) -> slice:
    start = rng.randrange(len(mutant) + 1)
    return slice(start, start + rng.randrange(1, most))


def _flip(mutant: bytearray, rng: random.Random) -> None:
    if mutant:
        mutant[rng.randrange(len(mutant))] ^= 1 << rng.randrange(8)


def _overwrite(mutant: bytearray, rng: random.Random) -> None:
    number, start = rng.choice(_NUMBERS), rng.randrange(len(mutant) + 1)
    mutant[start : start + len(number)] = number


def _cut(mutant: bytearray, rng: random.Random) -> None:
    if rng.randrange(4) == 0:  # most that is cut short is told apart at once
        del mutant[rng.randrange(len(mutant) + 1) :]


def _delete(mutant: bytearray, rng: random.Random) -> None:
    del mutant[_place(mutant, rng)]


def _transplant(mutant: bytearray, rng: random.Random) -> None:
    graft, place = mutant[_place(mutant, rng)], _place(mutant, rng)
    mutant[place if rng.randrange(2) else slice(place.start, place.start)] = graft
