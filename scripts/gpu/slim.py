"""Leaves the kernels of one GPU architecture in a CUDA library, so that it packs small: slim.py 90 INPUT OUTPUT.

The layout of the section `.nv_fatbin`: containers of a 16-byte header (magic, version, size of the header, size of the rest), in each a
row of entries whose headers name kind, size and architecture, as `cuobjdump --list-elf` shows them. Every container stays where it is, as
code points to it, and becomes shorter; what lies behind it is zeros. Needs nothing but Python.
"""

import struct
import sys

MAGIC = 0xBA55ED50


def section(image, wanted):
    """Where a section of an ELF file begins and ends."""
    table = struct.unpack_from("<Q", image, 0x28)[0]
    size, count, names = struct.unpack_from("<HHH", image, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", image, table + at * size) for at in range(count)]
    for name, _, _, _, offset, length in headers:
        start = headers[names][4] + name
        if image[start : image.index(b"\0", start)] == wanted:
            return offset, offset + length
    raise SystemExit(f"slim: there is no section {wanted.decode()}")


def main():
    keep, source, target = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    with open(source, "rb") as file:
        image = bytearray(file.read())
    if image[:4] != b"\x7fELF":
        raise SystemExit(f"slim: {source} is no ELF file")
    kept = dropped = 0
    at, end = section(image, b".nv_fatbin")
    while at < end:
        magic, _, header, length = struct.unpack_from("<IHHQ", image, at)
        if magic != MAGIC:
            # Containers are padded to 8 bytes.
            at += 8
            continue
        entries, entry, start, at = [], at + header, at, at + header + length
        while entry < at:
            _, _, head, body, _, _, _, _, architecture = struct.unpack_from("<HHIQIIHHI", image, entry)
            entries.append((architecture, bytes(image[entry : entry + head + body])))
            entry += head + body
        # One without kernels for this architecture stays whole: an empty one might be refused when the library is loaded.
        chosen = b"".join(text for architecture, text in entries if architecture == keep)
        if chosen:
            kept += len(chosen)
            dropped += length - len(chosen)
            struct.pack_into("<Q", image, start + 8, len(chosen))
            image[start + header : at] = chosen + bytes(length - len(chosen))
    if not kept:
        raise SystemExit(f"slim: {source} has no kernels for sm_{keep}")
    with open(target, "wb") as file:
        file.write(image)
    print(f"slim: {kept / 1e6:.0f} MB of kernels for sm_{keep} kept, {dropped / 1e6:.0f} MB of others dropped")


if __name__ == "__main__":
    main()
