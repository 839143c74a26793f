"""Writes the weights of a safetensors file in 16 bits: halve.py f16|bf16 INPUT OUTPUT. Needs nothing but Python."""

import array
import json
import struct
import sys


def halves(kind, raw):
    if kind == "f16":
        count = len(raw) // 4
        return struct.pack(f"<{count}e", *struct.unpack(f"<{count}f", raw))
    # Rounded to nearest, ties to even: the upper half of the bits.
    words = array.array("I", raw)
    return array.array("H", [(w + 0x7FFF + (w >> 16 & 1)) >> 16 for w in words]).tobytes()


def main():
    kind, source, target = sys.argv[1:]
    with open(source, "rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(length))
        start = 8 + length
        out, body, at = {}, [], 0
        for name, entry in sorted(header.items()):
            if name == "__metadata__":
                out[name] = entry
                continue
            begin, end = entry["data_offsets"]
            file.seek(start + begin)
            raw = file.read(end - begin)
            if entry["dtype"] == "F32":
                parts = [halves(kind, raw[i : i + (1 << 22)]) for i in range(0, len(raw), 1 << 22)]
                raw, entry["dtype"] = b"".join(parts), kind.upper()
            out[name] = {"dtype": entry["dtype"], "shape": entry["shape"], "data_offsets": [at, at + len(raw)]}
            at += len(raw)
            body.append(raw)
    text = json.dumps(out).encode()
    text += b" " * (-len(text) % 8)
    with open(target, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for raw in body:
            file.write(raw)


if __name__ == "__main__":
    main()
