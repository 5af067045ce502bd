"""The one thing about wav files that libsndfile does not tell: whether they are all there."""

import struct
from pathlib import Path

_UNKNOWN_SIZE = 0xFFFFFFFF


def wav_missing_bytes(path: Path) -> tuple[int, int]:
    """Compare the size of the audio data that a wav file's header promises with what is on the disk.

    Understands RIFF, its big-endian twin RIFX, and RF64/BW64 for files above 4 GiB. Writers that could not know the
    size (pipes, live recordings) leave 0 or 2^32 - 1 there: nothing is missing then.

    Returns:
        (bytes missing, bytes of audio data present); (0, 0) for any other format.
    """
    size = Path(path).stat().st_size
    with open(path, "rb") as file:
        magic, _, kind = struct.unpack("<4sI4s", file.read(12).ljust(12, b"\0"))
        if magic not in (b"RIFF", b"RIFX", b"RF64", b"BW64") or kind != b"WAVE":
            return 0, 0
        header = ">4sI" if magic == b"RIFX" else "<4sI"
        promised_64 = None
        while len(raw := file.read(8)) == 8:
            name, promised = struct.unpack(header, raw)
            if name == b"data":
                present = size - file.tell()
                if promised == _UNKNOWN_SIZE and promised_64 is not None:
                    promised = promised_64
                if promised in (0, _UNKNOWN_SIZE):
                    return 0, present
                return max(0, promised - present), min(present, promised)
            if name == b"ds64":
                content = file.read(promised + promised % 2)
                promised_64 = struct.unpack("<Q", content[8:16].ljust(8, b"\0"))[0]
            else:
                file.seek(promised + promised % 2, 1)  # chunks begin at even positions
    return 0, 0
