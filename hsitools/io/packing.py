"""Chunks of an HDF5 data set, packed by threads beside whatever computes the next ones.

HDF5's own filters pack one chunk after the other, while nothing else goes on. What stands in the file here is the same,
shuffled bytes in a deflate stream, that any HDF5 library reads without a plug-in; it is made by Intel's ISA-L (package
``isal``) where that is installed, ten times as fast as zlib at its lowest level and 3 % larger. Planes of bytes
that are noise stand in the stream as they are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import product
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.processors import threads

#: Of deflate: the lowest of zlib's and ISA-L's own default give nearly the same size.
LEVEL = 1
#: Filters of a data set that `ChunkWriter` fills, as h5py names them.
FILTERS: dict[str, Any] = {"compression": "gzip", "compression_opts": LEVEL, "shuffle": True}


#: Bytes in the middle of a plane that tell whether it packs: two bands of a chunk, so that equal bands are noticed.
SAMPLE = 2**13
#: A plane whose sample stays longer than this share of itself is stored as it is: the last bytes of measured numbers
#: are noise, and to look for what repeats in them takes a third of the time for nothing.
STORED_FROM = 0.98
#: Bytes that a stored block of deflate holds at most.
BLOCK = 2**16 - 1
#: What a stream of zlib begins with.
HEADER = b"\x78\x01"


def deflated(planes: NDArray[np.uint8]) -> bytes:
    """A zlib stream of planes ``(plane, byte)``, one after the other; those that do not get shorter go in as they are.

    Examples
    --------
    >>> import zlib, numpy as np
    >>> planes = np.array([np.random.default_rng(0).bytes(40_000), bytes(40_000)]).view(np.uint8).reshape(2, -1)
    >>> packed = deflated(planes)
    >>> len(packed) < 41_000, zlib.decompress(packed) == planes.tobytes()
    (True, True)
    """
    zlib = _zlib()
    out = [HEADER]
    last = len(planes) - 1
    middle = max(0, (planes.shape[1] - SAMPLE) // 2)
    packer: Any = None
    for number, plane in enumerate(planes):
        sample = plane[middle : middle + SAMPLE]
        if len(zlib.compress(sample, LEVEL)) <= STORED_FROM * sample.size:
            packer = packer or zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
            out.append(packer.compress(plane))
            continue
        if packer is not None:
            # ends at a whole byte
            out.append(packer.flush(zlib.Z_SYNC_FLUSH))
            packer = None
        out += _stored(plane, number == last)
    if packer is not None:
        out.append(packer.flush(zlib.Z_FINISH))
    return b"".join([*out, zlib.adler32(planes).to_bytes(4, "big")])


def _stored(plane: NDArray[np.uint8], final: bool) -> Iterator[Any]:
    """Blocks of deflate that hold bytes as they are."""
    for start in range(0, plane.size, BLOCK):
        part = plane[start : start + BLOCK]
        yield bytes([final and start + BLOCK >= plane.size])
        yield np.array([part.size, BLOCK - part.size], dtype="<u2").tobytes()
        yield part


def _zlib() -> Any:
    """ISA-L, or the zlib of Python."""
    try:
        from isal import isal_zlib

        return isal_zlib
    except ImportError:
        import zlib

        return zlib


class ChunkWriter:
    """Writes blocks into a chunked data set with `FILTERS`; use it as a context, which ends when all is written.

    Parameters
    ----------
    data : h5py.Dataset
        Chunked.

    Examples
    --------
    >>> import h5py, numpy as np
    >>> file = h5py.File("example.h5", "w", driver="core", backing_store=False)
    >>> data = file.create_dataset("cube", shape=(2, 5, 5), dtype="f4", chunks=(2, 4, 4), **FILTERS)
    >>> with ChunkWriter(data) as writer:
    ...     writer.write((0, 0, 0), np.ones((2, 5, 5), dtype="f4"))
    >>> float(data[:].sum())
    50.0
    """

    def __init__(self, data: Any) -> None:
        self.data, self.chunk = data, tuple(data.chunks)
        self._threads = ThreadPoolExecutor(threads())
        self._blocks: deque[deque[tuple[tuple[int, ...], Future[bytes]]]] = deque()

    def __enter__(self) -> ChunkWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            while kind is None and self._blocks:
                self._store()
        finally:
            self._threads.shutdown(cancel_futures=True)

    def write(self, corner: tuple[int, ...], values: NDArray[Any]) -> None:
        """Values of the block whose first element is at ``corner``; they must not be changed afterwards."""
        values = np.asarray(values, dtype=self.data.dtype)
        stops = [start + size for start, size in zip(corner, values.shape, strict=True)]
        ends = zip(stops, self.data.shape, self.chunk, strict=True)
        whole = all(start % size == 0 for start, size in zip(corner, self.chunk, strict=True))
        if not whole or any(stop != full and stop % size for stop, full, size in ends):
            # cuts chunks: HDF5 puts them together
            self.data[tuple(slice(start, stop) for start, stop in zip(corner, stops, strict=True))] = values
            return
        self._blocks.append(
            deque(
                (place, self._threads.submit(packed_chunk, part, self.chunk))
                for place, part in chunk_parts(corner, values, self.chunk)
            )
        )
        # one block is packed while the next is computed: no more are held in memory
        while len(self._blocks) > 1:
            self._store()

    def _store(self) -> None:
        for place, packed in self._blocks.popleft():
            self.data.id.write_direct_chunk(place, packed.result())


def chunk_parts(
    corner: tuple[int, ...], values: NDArray[Any], chunk: tuple[int, ...]
) -> Iterator[tuple[tuple[int, ...], NDArray[Any]]]:  # fmt: skip
    """Place in the data set, and values, of each chunk of a block that cuts none."""
    steps = (range(0, size, step) for size, step in zip(values.shape, chunk, strict=True))
    for start in product(*steps):
        inside = tuple(slice(at, at + size) for at, size in zip(start, chunk, strict=True))
        yield tuple(a + b for a, b in zip(corner, start, strict=True)), values[inside]


def packed_chunk(values: NDArray[Any], chunk: tuple[int, ...]) -> bytes:
    """A chunk as `FILTERS` pack it."""
    missing = [(0, size - own) for own, size in zip(values.shape, chunk, strict=True)]
    if any(after for _, after in missing):
        # chunks at the border are whole in the file
        values = np.pad(values, missing)
    numbers = np.ascontiguousarray(values).reshape(-1)
    planes = np.empty((numbers.itemsize, numbers.size), dtype=np.uint8)
    whole = numbers.view(f"<u{numbers.itemsize}")
    for number, plane in enumerate(planes):
        # cast to its last byte, which is faster than to transpose bytes
        np.copyto(plane, whole >> whole.dtype.type(8 * number) if number else whole, casting="unsafe")
    return deflated(planes)
