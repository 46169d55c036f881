"""Hostile files, built here: each family returns specimens with the answers a careful reader may give.

Called by `test_hostile.py`. Clips come from `fuzz.clip`, are patched box by box, or are written bit by bit.
"""

from __future__ import annotations

import io
import os
import random
import re
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from tests.video.fuzz import NUM_FRAMES, clip, write_tone

OK = "ok"
STBL = "moov/trak/mdia/minf/stbl"
NOT_A_VIDEO = frozenset({"NOT_A_VIDEO"})
UNREADABLE = frozenset({"NOT_A_VIDEO", "NO_VIDEO_STREAM", "VIDEO_DAMAGED", "VIDEO_TRUNCATED", "UNSUPPORTED_CODEC"})


@dataclass(frozen=True)
class Specimen:
    """One hostile input. ``want``: "ok" or codes of `VideoError`, any of which is a right answer."""

    name: str
    data: bytes
    want: frozenset[str]
    size: tuple[int, int] | None = None  # (width, height) of the frames where they must come


# ── boxes and bits ──────────────────────────────────────────────────────────────────────────────────────────────────


def box(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload) + 8) + kind + payload


def patch(data: bytes, path: str, change: Callable[[bytes], bytes]) -> bytes:
    """An mp4 with the payload of the boxes at ``path`` ("moov/trak") changed and all sizes rebuilt.

    The index of our clips follows the media, so no offset moves.
    """
    first, _, rest = path.partition("/")
    out, at = b"", 0
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        payload = data[at + 8 : at + size]
        if kind == first.encode():
            payload = patch(payload, rest, change) if rest else change(payload)
        out += box(kind, payload)
        at += size
    return out


def put(offset: int, value: bytes) -> Callable[[bytes], bytes]:
    """A change that overwrites bytes at an offset of the payload."""
    return lambda payload: payload[:offset] + value + payload[offset + len(value) :]


def u32(*values: int) -> bytes:
    return b"".join(struct.pack(">I", value & 0xFFFFFFFF) for value in values)


def golomb(value: int) -> str:
    bits = f"{value + 1:b}"
    return "0" * (len(bits) - 1) + bits


def nal(header: int, bits: str) -> bytes:
    """An H.264 unit of Annex B with its stop bit, padding and emulation prevention."""
    bits += "1"
    bits += "0" * (-len(bits) % 8)
    body = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return b"\0\0\0\1" + bytes([header]) + re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", body)


def grey_h264(width: int, height: int, num_frames: int) -> list[bytes]:
    """Grey Baseline H.264, written bit by bit: eight bits a macroblock, then pictures that skip them all.

    No encoder needs the memory of such a picture; a decoder does.
    """
    mbs_x, mbs_y = -(-width // 16), -(-height // 16)
    crop_right, crop_bottom = (mbs_x * 16 - width) // 2, (mbs_y * 16 - height) // 2
    crop = "1" + golomb(0) + golomb(crop_right) + golomb(0) + golomb(crop_bottom) if crop_right or crop_bottom else "0"
    sps = f"{66:08b}{0xC0:08b}{62:08b}" + golomb(0) * 2 + golomb(2) + golomb(1) + "0"
    sps += golomb(mbs_x - 1) + golomb(mbs_y - 1) + "11" + crop + "0"
    pps = golomb(0) * 2 + "00" + golomb(0) * 3 + "000" + golomb(0) * 3 + "100"
    macroblock = golomb(3) + golomb(0) * 2 + "1"  # Intra 16x16 predicted from its neighbours, no coefficients
    key = golomb(0) + golomb(7) + golomb(0) + "0000" + golomb(0) + "00" + golomb(0) + golomb(1)
    packets = [nal(0x67, sps) + nal(0x68, pps) + nal(0x65, key + macroblock * (mbs_x * mbs_y))]
    for index in range(1, num_frames):
        head = golomb(0) + golomb(5) + golomb(0) + f"{index % 16:04b}" + "000" + golomb(0) + golomb(1)
        packets.append(nal(0x41, head + golomb(mbs_x * mbs_y)))
    return packets


def mux_h264(packets: list[bytes], container: str = "mp4") -> bytes:
    """Annex B pictures in a container whose headers say 96x64."""
    small, buffer = b"".join(grey_h264(96, 64, 4)), io.BytesIO()
    with av.open(io.BytesIO(small), format="h264") as source, av.open(buffer, "w", format=container) as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for index, body in enumerate(packets):
            packet = av.Packet(body)
            packet.stream, packet.time_base = stream, source.streams.video[0].time_base
            packet.pts = packet.dts = index * 48000
            packet.is_keyframe = body[4] & 31 == 7
            output.mux(packet)
    return buffer.getvalue()


def mux_picture(codec: str, container: str, size: tuple[int, int], body: bytes) -> bytes:
    """One compressed still as the only picture of a video whose headers say ``size``."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream(codec, rate=5)
        stream.width, stream.height = 16, 16
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "rgb24"
        output.start_encoding()
        for index in range(3):
            packet = av.Packet(body)
            packet.stream, packet.pts, packet.dts, packet.time_base = (
                stream,
                index,
                index,
                stream.codec_context.time_base,
            )
            packet.is_keyframe = True
            output.mux(packet)
    data = buffer.getvalue()
    old, new = (">HH", ">HH") if container == "mov" else ("<II", "<II")
    return data.replace(struct.pack(old, 16, 16), struct.pack(new, *size))


def grey_png(width: int, height: int) -> bytes:
    pack, row = zlib.compressobj(1), bytes(width + 1) * 16
    body = b"".join(pack.compress(row) for _ in range(height // 16)) + pack.flush()

    def chunk(kind: bytes, payload: bytes) -> bytes:
        return u32(len(payload)) + kind + payload + u32(zlib.crc32(kind + payload))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


# ── A3: things that are not files ───────────────────────────────────────────────────────────────────────────────────


def not_files(folder: Path) -> Iterator[tuple[str, Path, str]]:
    """(name, path, wanted code); what must stay open stays open until the iterator is closed."""
    video = folder / "real.mp4"
    video.write_bytes(clip(num_frames=4))
    wanted = "NOT_A_REGULAR_FILE"
    os.mkfifo(folder / "fifo.mp4")
    yield "fifo", folder / "fifo.mp4", wanted
    os.mkfifo(folder / "fed.mp4")
    writer = os.open(folder / "fed.mp4", os.O_RDWR | os.O_NONBLOCK)
    os.write(writer, video.read_bytes())
    yield "fifo with a video in it", folder / "fed.mp4", wanted
    listener = socket.socket(socket.AF_UNIX)
    here = os.open(folder, os.O_DIRECTORY)
    listener.bind(f"/proc/self/fd/{here}/socket.mp4")  # the folder's own name may be too long for a socket
    os.close(here)
    yield "socket", folder / "socket.mp4", wanted
    for device in ("/dev/zero", "/dev/null", "/dev/urandom"):
        yield device, Path(device), wanted
    (folder / "folder.mp4").mkdir()
    yield "directory", folder / "folder.mp4", wanted
    for name, target in {"link": "real.mp4", "dangling": "absent.mp4", "loop": "loop.mp4"}.items():
        (folder / f"{name}.mp4").symlink_to(target)
        yield f"symlink: {name}", folder / f"{name}.mp4", wanted
    descriptor = os.open(video, os.O_RDONLY)
    yield "/proc/self/fd", Path(f"/proc/self/fd/{descriptor}"), wanted
    with (folder / "sparse.mp4").open("wb") as sparse:
        sparse.write(video.read_bytes()[:64])
        sparse.truncate(1 << 40)
    yield "sparse 1 TB", folder / "sparse.mp4", "TOO_LARGE"
    listener.close()
    os.close(writer)
    os.close(descriptor)


# ── A4: files that are not videos ───────────────────────────────────────────────────────────────────────────────────


def not_videos() -> Iterator[Specimen]:
    rng, start = random.Random(4), clip(num_frames=4)[:64]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("clip.mp4", start)
    yield Specimen("empty", b"", NOT_A_VIDEO)
    for size in (*range(1, 17), *range(18, 65, 2)):
        yield Specimen(f"{size} random bytes", rng.randbytes(size), NOT_A_VIDEO)
        want = NOT_A_VIDEO if size < 8 else frozenset({"NOT_A_VIDEO", "VIDEO_TRUNCATED"})
        yield Specimen(f"first {size} bytes of a video", start[:size], want)
    for size in (1_000, 100_000):
        yield Specimen(f"{size} random bytes", rng.randbytes(size), NOT_A_VIDEO)
    bodies = {
        "text": b"This is no video.\n" * 100,
        "html": b"<!doctype html><title>404</title>" + b"<p>Not found</p>" * 100,
        "json": b'{"error": "not found"}',
        "zip": archive.getvalue(),
        "png": grey_png(96, 64),
        "zeros": bytes(4096),
        "elf": b"\x7fELF" + bytes(4096),
        "wav": b"RIFF\x24\x10\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\0\x10\0\0"
        + bytes(4096),
        "ebml of another kind": b"\x1aE\xdf\xa3\x8bB\x82\x88calendar" + bytes(256),
    }
    for name, body in bodies.items():
        yield Specimen(name, body, UNREADABLE if name in ("wav", "ebml of another kind") else NOT_A_VIDEO)


# ── A5, A6: too much of it ──────────────────────────────────────────────────────────────────────────────────────────


def huge_pictures(side: int = 16000) -> Iterator[Specimen]:
    import cv2

    want = frozenset({"FRAME_TOO_LARGE"})
    grey = np.zeros((side, side), np.uint8)
    jpeg = cv2.imencode(".jpg", grey)[1].tobytes()
    del grey
    large, small = grey_h264(side, side, 3), grey_h264(96, 64, 14)
    yield Specimen("h264.mp4", mux_h264(large), want)
    yield Specimen("h264.mkv", mux_h264(large, "matroska"), want)
    yield Specimen("png.mov", mux_picture("png", "mov", (side, side), grey_png(side, side)), want)
    yield Specimen("mjpeg.avi", mux_picture("mjpeg", "avi", (side, side), jpeg), want)
    yield Specimen("png.mov, headers say 16x16", mux_picture("png", "mov", (16, 16), grey_png(side, side)), want)
    # Good pictures came before the switch: whoever keeps them must say that the rest is missing.
    yield Specimen("switch.mp4", mux_h264([*small, *large]), frozenset({"FRAME_TOO_LARGE", "partial"}))


def edit_bomb(entries: int) -> bytes:
    """1 s of video that an edit list shows ``entries`` times over."""
    entry = u32(1000, 0, 0x10000)
    edits = box(b"edts", box(b"elst", u32(0, entries) + entry * entries))
    return patch(patch(clip(num_frames=12), "moov/trak/edts", lambda _: b""), "moov/trak", lambda body: body + edits)


def repeated_picture(count: int) -> bytes:
    """A whole and valid mp4 of ``count`` key frames of 16x16, about 40 bytes each."""
    data = mux_h264(grey_h264(16, 16, 1))
    start = data.index(b"mdat") + 4
    size = struct.unpack(">I", data[start - 8 : start - 4])[0] - 8
    index = data[start + size :]
    index = patch(index, "moov/trak/edts", lambda _: b"")
    index = patch(index, f"{STBL}/stts", lambda _: u32(0, 1, count, 48000))
    index = patch(index, f"{STBL}/stsz", lambda _: u32(0, size, count))
    index = patch(index, f"{STBL}/stsc", lambda _: u32(0, 1, 1, count, 1))
    return data[: start - 8] + box(b"mdat", data[start : start + size] * count) + index


def too_many_frames() -> Iterator[Specimen]:
    many = frozenset({"TOO_MANY_FRAMES"})
    for entries in (100, 1_000, 10_000, 100_000):
        yield Specimen(f"elst of {entries}", edit_bomb(entries), many)
    lies = many | {"OUT_OF_MEMORY", "partial", *UNREADABLE}
    short = lies | {OK}  # a table that claims more entries than the file has bytes may also be read as far as it goes
    for name, offset in {"stts": 4, "ctts": 4, "stsz": 8, "stsc": 4, "stco": 4, "stss": 4}.items():
        for value in (1 << 31, (1 << 32) - 1):
            data = patch(clip(), f"{STBL}/{name}", put(offset, u32(value)))
            yield Specimen(f"{name} claims {value} entries", data, short)
    yield Specimen("stts run of 2^31", patch(clip(), f"{STBL}/stts", put(8, u32(1 << 31))), short)
    constant = patch(clip(), f"{STBL}/stsz", lambda _: u32(0, 1, 1 << 31))
    yield Specimen("2^31 samples of one byte", constant, lies)
    yield Specimen("1,000,000 real frames", repeated_picture(1_000_000), many)


# ── A7: odd but possible ────────────────────────────────────────────────────────────────────────────────────────────


def audio_only(container: str = "mp4") -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        write_tone(output, output.add_stream("aac", rate=16000, layout="mono"), seconds=1.0)
    return buffer.getvalue()


def cover_only() -> bytes:
    import cv2

    jpeg = cv2.imencode(".jpg", np.full((64, 64, 3), 90, np.uint8))[1].tobytes()
    handler = box(b"hdlr", u32(0, 0) + b"mdirappl" + bytes(9))
    cover = box(b"ilst", box(b"covr", box(b"data", u32(13, 0) + jpeg)))
    return patch(audio_only(), "moov/udta", lambda _: box(b"meta", u32(0) + handler + cover))


def with_matrix(*values: float) -> bytes:
    fixed = [int(value * 65536) for value in values]
    fixed[2::3] = [0, 0, 1 << 30]
    return patch(clip(), "moov/trak/tkhd", put(40, u32(*fixed)))


def with_aspect(horizontal: int, vertical: int) -> bytes:
    def add(payload: bytes) -> bytes:
        entry = payload[16:] + box(b"pasp", u32(horizontal, vertical))
        return payload[:8] + box(payload[12:16], entry)

    return patch(clip(), f"{STBL}/stsd", add)


def odd_clips() -> Iterator[Specimen]:
    none, good = frozenset({"NO_VIDEO_STREAM"}), frozenset({OK})
    maybe = frozenset({OK, "partial", "NO_FRAMES", "TOO_MANY_FRAMES", *UNREADABLE})
    base, wide = clip(), (96, 64)
    yield Specimen("audio only", audio_only(), none)
    yield Specimen("audio only, mkv", audio_only("matroska"), none)
    words = patch(base, f"{STBL}/stsd", lambda _: u32(0, 1) + box(b"tx3g", bytes(7) + b"\1" + bytes(38)))
    yield Specimen("subtitle only", patch(words, "moov/trak/mdia/hdlr", put(8, b"sbtl")), none)
    yield Specimen("cover picture only", cover_only(), none)
    trak = base[base.index(b"trak") - 4 :]
    trak = trak[: struct.unpack(">I", trak[:4])[0]]
    yield Specimen("1,000 tracks", patch(base, "moov", lambda moov: moov + trak * 999), maybe)
    yield Specimen("no time between frames", patch(base, f"{STBL}/stts", put(12, u32(0))), maybe)
    yield Specimen("time scale 0", patch(base, "moov/trak/mdia/mdhd", put(12, u32(0))), maybe)
    yield Specimen("time scale 2^32-1", patch(base, "moov/trak/mdia/mdhd", put(12, u32(0xFFFFFFFF))), maybe)
    yield Specimen("frames 2^31 apart", patch(base, f"{STBL}/stts", put(12, u32(1 << 31))), maybe)
    yield Specimen("movie time scale 0", patch(base, "moov/mvhd", put(12, u32(0))), maybe)
    pieces = clip(container_options={"movflags": "frag_keyframe+empty_moov"})
    for value in (1 << 62, (1 << 64) - 1, 1 << 40):
        data = patch(pieces, "moof/traf/tfdt", lambda _, v=value: u32(1 << 24) + struct.pack(">Q", v))
        yield Specimen(f"fragments at {value}", data, maybe)
    yield Specimen("fragments", pieces, good, wide)
    for media_time in (-1, 1 << 30, 0x7FFFFFFF):
        data = patch(base, "moov/trak/edts/elst", put(12, u32(media_time)))
        yield Specimen(f"edit starts at {media_time}", data, maybe)
    shuffled = random.Random(7).sample(range(-NUM_FRAMES * 1024, NUM_FRAMES * 1024), NUM_FRAMES)
    entries = b"".join(u32(1, value) for value in shuffled)
    yield Specimen(
        "negative and shuffled pts", patch(base, f"{STBL}/ctts", lambda _: u32(1 << 24, 24) + entries), maybe
    )
    entries = u32(1, 0x7FFFFFFF, 1, 0x80000000) * (NUM_FRAMES // 2)
    yield Specimen("pts at both ends", patch(base, f"{STBL}/ctts", lambda _: u32(1 << 24, 24) + entries), maybe)
    times = [0, 10, 20, 500, 510, 1000, 1001, 3000]
    yield Specimen("variable rate", clip(container="matroska", num_frames=8, pts=times), good, wide)
    yield Specimen("turned by 90", with_matrix(0, 1, 0, -1, 0, 0, 0, 0, 1), good, (64, 96))
    yield Specimen("turned by 180", with_matrix(-1, 0, 0, 0, -1, 0, 0, 0, 1), good, wide)
    for name, values in {"matrix of zeros": (0,) * 9, "45 degrees": (0.7, 0.7, 0, -0.7, 0.7, 0, 0, 0, 1)}.items():
        yield Specimen(name, with_matrix(*values), good)
    yield Specimen("matrix of extremes", with_matrix(30000, -30000, 0, 30000, 30000, 0, 0, 0, 1), good)
    yield Specimen("pixels 2:1", with_aspect(2, 1), good, (192, 64))
    for aspect in ((1 << 31, 1), (1, 1 << 31), (0, 0), (0xFFFFFFFF, 0xFFFFFFFF)):
        yield Specimen(f"pixels {aspect[0]}:{aspect[1]}", with_aspect(*aspect), good | {"FRAME_TOO_LARGE"})
    yield Specimen("interlaced", clip(codec_options={"flags": "+ildct+ilme", "x264-params": "tff=1"}), good, wide)
    for size in ((1, 1), (1, 3), (3, 5), (2, 1), (7, 3)):
        data = clip("png", "mov", size=size, pix_fmt="rgb24", num_frames=6)
        yield Specimen(f"{size[0]}x{size[1]}", data, good, size)
    yield Specimen("4096x2", clip(size=(4096, 2), num_frames=4), good, (4096, 2))
    yield Specimen("h264 3x5", clip(size=(3, 5), pix_fmt="yuv444p", num_frames=6), good, (3, 5))
    yield Specimen("10 bit", clip(pix_fmt="yuv420p10le"), good, wide)
    yield Specimen("4:4:4", clip(pix_fmt="yuv444p"), good, wide)
    yield Specimen("grey", clip(pix_fmt="gray"), good, wide)
    yield Specimen("alpha", clip("png", "mov", pix_fmt="rgba"), good, wide)
    hdr = "colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:log-level=none"
    yield Specimen("HDR", clip("libx265", pix_fmt="yuv420p10le", codec_options={"x265-params": hdr}), good, wide)
    yield Specimen("one frame", clip(num_frames=1), good, wide)


# ── A8, A9, A10: files that point elsewhere ─────────────────────────────────────────────────────────────────────────


def pointers(secret: Path, port: int) -> Iterator[tuple[str, bytes]]:
    """(file name, content): playlists and the like that point to a secret video and to a loopback HTTP server."""
    url = f"http://127.0.0.1:{port}/canary.ts"
    head, end = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n", "\n#EXT-X-ENDLIST\n"
    media = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 34567 RTP/AVP 96\n"
    texts = {
        "hls_absolute.m3u8": f"{head}#EXTINF:2,\n{secret}{end}",
        "hls_file.m3u8": f"{head}#EXTINF:2,\nfile:{secret}{end}",
        "hls_relative.m3u8": f"{head}#EXTINF:2,\n../secret/{secret.name}{end}",
        "hls_http.m3u8": f"{head}#EXTINF:2,\n{url}{end}",
        "hls_master.m3u8": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{url}\n",
        "hls_key.m3u8": f'{head}#EXT-X-KEY:METHOD=AES-128,URI="{url}"\n#EXTINF:2,\n{secret}{end}',
        "hls_map.m3u8": f'{head}#EXT-X-MAP:URI="{url}"\n#EXTINF:2,\n{secret}{end}',
        "hls_concat.m3u8": f"{head}#EXTINF:2,\nconcat:{secret}|{secret}{end}",
        "hls_subfile.m3u8": f"{head}#EXTINF:2,\nsubfile,,start,0,end,0,,:{secret}{end}",
        "concat_absolute.ffconcat": f"ffconcat version 1.0\nfile '{secret}'\n",
        "concat_relative.ffconcat": f"ffconcat version 1.0\nfile ../secret/{secret.name}\n",
        "concat_http.ffconcat": f"ffconcat version 1.0\nfile {url}\n",
        "session.sdp": f"{media}a=rtpmap:96 H264/90000\n",
        "rtsp.txt": f"RTSPtext\nrtsp://127.0.0.1:{port}/x\n",
        "reference.asx": f'<ASX version="3.0"><ENTRY><REF HREF="{url}"/></ENTRY></ASX>\n',
        "reference.txt": f"[Reference]\nRef1={url}\n",
        "manifest.mpd": f'<?xml version="1.0"?><MPD><Period><BaseURL>{url}</BaseURL></Period></MPD>\n',
        "terminal.txt": "\x1b[31mroot:x:0:0:root:/root:/bin/bash\x1b[0m\n" * 30,
    }
    for name, text in texts.items():
        yield name, text.encode()
        yield f"{name}.mp4", text.encode()
        if not name.endswith(".m3u8"):
            yield f"{name}.m3u8", text.encode()


def protocol_strings(secret: Path, port: int) -> list[str]:
    """Strings that FFmpeg would take as a protocol; as file names none of them exists."""
    url = f"http://127.0.0.1:{port}/canary.mp4"
    schemes = [
        "file:",
        "cache:",
        "async:",
        "crypto:",
        "concat:",
        "concatf:",
        "subfile,,start,0,end,0,,:",
        "md5:",
        "tee:",
    ]
    data = "data:video/mp4;base64,AAAAIGZ0eXBpc29t"
    network = [url, url.replace("http", "tcp"), url.replace("http", "udp"), f"hls+{url}", f"rtsp://127.0.0.1:{port}/x"]
    others = ["pipe:0", "fd:0", data, str(secret.with_name("%03d.mp4")), str(secret.with_name("*.mp4"))]
    return [scheme + str(secret) for scheme in schemes] + network + others + [f"{secret}\0.mp4"]


def foreign_references(secret: Path, port: int) -> Iterator[Specimen]:
    """Movies whose media, or whole contents, are said to lie in another file or at an address."""
    url = f"http://127.0.0.1:{port}/canary.mp4".encode() + b"\0"
    alias = bytes(130) + struct.pack(">HH", 2, len(str(secret))) + str(secret).encode() + struct.pack(">H", 0xFFFF)
    want = frozenset({OK, "partial", *UNREADABLE})
    for name, entry in {
        "url to a server": box(b"url ", u32(0) + url),
        "url to a file": box(b"url ", u32(0) + b"file://" + str(secret).encode() + b"\0"),
        "alias": box(b"alis", u32(0) + alias),
    }.items():
        reference = u32(0, 1) + entry
        yield Specimen(name, patch(clip(), "moov/trak/mdia/minf/dinf/dref", lambda _, body=reference: body), want)
    target = box(b"rmra", box(b"rmda", box(b"rdrf", u32(0) + b"url " + u32(len(url)) + url)))
    yield Specimen("reference movie", clip()[:32] + box(b"moov", target), want)
