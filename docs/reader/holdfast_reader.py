#!/usr/bin/env python3
"""Reads a Holdfast repository without Holdfast: Python 3.9, the programs age and zstd, and docs/format.md.

    holdfast_reader.py points  VAULT [--fingerprint HEX]
    holdfast_reader.py check   VAULT POINT                  what keyless checks can say: existence, size, hash
    holdfast_reader.py list    VAULT POINT -i IDENTITY      a JSON line for each entry
    holdfast_reader.py restore VAULT POINT -i IDENTITY --to DIR

VAULT is a directory with descriptors/, meta/, packs/, points/, ..: a directory vault, or a copy of a bucket. POINT is an ID,
the beginning of one, or SOURCE@latest. IDENTITY is a file with a restore key. Exit codes: 0 done, 1 failed, 2 bad usage,
3 something is missing or damaged, and is listed. Where no first descriptor can be read, POINT is a full ID, and nothing else vouches.

It is written from docs/format.md alone, shares no code with Holdfast, and is kept to find out where that page says too
little. Numbers in comments are sections of it. It is slow and simple: one thing after another, pages and packs in memory.
"""

import argparse
import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from datetime import datetime, timezone

FORMATS = ("1-rc",)
BLOCK = 512 * 1024
MAX_CONTAINER = 48 << 20
HEX64 = "[0-9a-f]{64}"
STAMP = "[0-9]{8}T[0-9]{6}Z"
POINT_NAME = re.compile(f"points/([a-z0-9_-]{{1,40}})/({STAMP})-({HEX64})(?:-([0-9a-f]{{8}}))?-([0-9a-f]{{128}})")
DESCRIPTOR_NAME = re.compile(f"descriptors/([0-9]{{6}})-({HEX64})(?:(?:-([0-9a-f]{{8}}))?-([0-9a-f]{{128}}))?\\.json")


class Bad(Exception):
    """Something that is not as the format says."""


class Lost(Bad):
    """A page that cannot be had."""


# Text (section 3).

def parse(line):
    """One JSON object in the one spelling."""
    def pairs(items):
        out = dict(items)
        if len(out) != len(items):
            raise Bad("a member twice")
        return out
    try:
        text = line.decode("utf-8")
        value = json.loads(text, object_pairs_hook=pairs)
    except (ValueError, RecursionError) as e:
        raise Bad(f"not JSON: {e}") from None
    if not isinstance(value, dict) or json.dumps(value, ensure_ascii=False, separators=(",", ":")) != text:
        raise Bad("not in the one spelling")
    return value


def text(o, name, default=b""):
    """A member that is text: bytes, under NAME or NAME_b64."""
    if name in o:
        return o[name].encode("utf-8")
    if name + "_b64" not in o:
        return default
    raw = base64.b64decode(o[name + "_b64"], validate=True)
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw
    raise Bad(f"{name}_b64 is UTF-8")


def shown(raw):
    return raw.decode("utf-8", "backslashreplace")


def sha(data):
    return hashlib.sha256(data).hexdigest()


def moment(stamp):
    return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)


# Ed25519 verification, RFC 8032.

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)


def recover(y, sign):
    if y >= P:
        return None
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * ROOT % P
    if (x * x - x2) % P or (x == 0 and sign):
        return None
    return P - x if x & 1 != sign else x


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE = (recover(BASE_Y, 0), BASE_Y, 1, recover(BASE_Y, 0) * BASE_Y % P)


def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(n, p):
    out = (0, 1, 1, 0)
    while n:
        if n & 1:
            out = add(out, p)
        p, n = add(p, p), n >> 1
    return out


def point_of(raw):
    y = int.from_bytes(raw, "little")
    x = recover(y & (1 << 255) - 1, y >> 255)
    return None if x is None else (x, y & (1 << 255) - 1, 1, x * (y & (1 << 255) - 1) % P)


def signed(key, domain, message, signature):
    """Signatures are over DOMAIN, a zero byte, and the SHA-256 of the message (section 3)."""
    data = domain.encode() + b"\0" + hashlib.sha256(message).digest()
    a, r = point_of(key), point_of(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if len(key) != 32 or len(signature) != 64 or a is None or r is None or s >= L:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + key + data).digest(), "little") % L
    left, right = times(s, BASE), add(r, times(h, a))
    return (left[0] * right[2] - right[0] * left[2]) % P == 0 and (left[1] * right[2] - right[1] * left[2]) % P == 0


# Stored objects (sections 2 and 4).

def run(command, data):
    done = subprocess.run(command, input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise Bad(f"{command[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


class Vault:
    def __init__(self, root, identity=None):
        self.root, self.identity = root, identity
        self.last = (None, b"")

    def names(self, prefix):
        """Stored objects' names below a prefix."""
        base = os.path.join(self.root, prefix)
        for folder, _, files in os.walk(base):
            for f in sorted(files):
                yield os.path.relpath(os.path.join(folder, f), self.root)

    def path(self, name):
        """Where an object lies: under its own name, or without the folder of two digits."""
        whole = os.path.join(self.root, name)
        parts = name.split("/")
        if not os.path.isfile(whole) and len(parts) == 3 and len(parts[1]) == 2:
            return os.path.join(self.root, parts[0], parts[2])
        return whole

    def read(self, name, want=None, most=MAX_CONTAINER):
        try:
            with open(self.path(name), "rb") as f:
                data = f.read(most + 1)
        except OSError as e:
            raise Bad(f"{name}: {e.strerror}") from None
        if len(data) > most:
            raise Bad(f"{name}: too large")
        want = want or re.search(HEX64, name).group()
        if sha(data) != want:
            raise Bad(f"{name}: its bytes are not those that its name says")
        return data

    def payload(self, name):
        if self.last[0] != name:
            data = self.read(name)
            if name.endswith(".age"):
                data = run([os.environ.get("AGE", "age"), "-d", "-i", self.identity], data)
            self.last = (name, data)
        return self.last[1]

    def frame(self, name, frame):
        offset, length, plain = frame
        part = self.payload(name)[offset:offset + length]
        if len(part) != length or plain > 8 << 20:
            raise Bad(f"{name}: no frame {frame}")
        data = run(["zstd", "-d", "-c", "-q"], part)
        if len(data) != plain:
            raise Bad(f"{name}: frame {frame} has {len(data)} bytes")
        return data


# Descriptors (section 10).

class Chain:
    """The descriptors of a repository, the first of which has the fingerprint."""

    def __init__(self, vault, fingerprint=""):
        self.vault = vault
        self.distrusted = {}  # by ID: why
        found = {}
        for name in vault.names("descriptors"):
            m = DESCRIPTOR_NAME.fullmatch(name)
            if m:
                found.setdefault(int(m[1]), []).append((os.stat(os.path.join(vault.root, name)).st_mtime, name, m))
        first = [x for x in sorted(found.get(0, [])) if x[2][2].startswith(fingerprint)]
        self.links = []
        self.end = None  # since when nothing that arrives is trusted: a change of keys that cannot be used
        for _, name, m in first:
            try:
                link = self.link(name, m[2])
                if not signed(link["job"][0], "holdfast/1/descriptor", link["signed"], link["signature"]):
                    raise Bad(f"{name}: not signed")
            except Bad as e:
                print(f"passed by: {e}", file=sys.stderr)
                continue
            self.links.append(link)
            break
        if not self.links and len(first) < len(found.get(0, [])):
            raise Bad("no first descriptor with that fingerprint")
        if not self.links:
            print("no first descriptor can be read: no signature is checked, and nothing vouches for a point but its full ID", file=sys.stderr)
        while self.links and self.step(found.get(len(self.links), [])):
            pass

    def link(self, name, digest):
        data = self.vault.read(name, digest, 256 << 10)
        lines = data.split(b"\n")
        head = parse(lines[0])
        if head.get("format") not in FORMATS or head.get("requires"):
            raise Bad(f"{name}: format {head.get('format')}, requires {head.get('requires')}")
        signature = base64.b64decode(parse(lines[-2])["signature"])
        body = dict(head, **(parse(lines[1]) if len(lines) > 3 else {}))
        keys = body.get("keys") or [{"use": "job", "alg": "ed25519", "key": body["signing_key"]}]
        use = lambda u: [base64.b64decode(k["key"]) for k in keys if k["use"] == u and k["alg"] == "ed25519"]
        return {"name": name, "sum": digest, "head": head, "body": body, "signed": data[:data.rindex(b'{"signature"')],
                "signature": signature, "job": use("job"), "owner": use("owner"), "arrived": self.arrived(name)}

    def arrived(self, name):
        """In a directory the file's time stands for when the vault got it (10)."""
        return os.stat(os.path.join(self.vault.root, name)).st_mtime_ns

    def step(self, candidates):
        """The next descriptor: signed, in its name and in its last line, by an owner or else a job key of the one before."""
        before, number = self.links[-1], len(self.links)
        signers = before["owner"] or before["job"]
        repository = self.links[0]["head"]["repository"]
        good, broken = [], []
        for _, name, m in sorted(candidates):
            message = f"{repository}\n{m[1]}\n{m[2]}\n".encode()
            if not any(signed(k, "holdfast/1/descriptor-name", message, bytes.fromhex(m[4])) for k in signers if m[4]):
                continue
            try:
                link = self.link(name, m[2])
                if link["head"]["previous"] != before["sum"] or link["head"]["number"] != number or link["head"]["repository"] != repository or not any(
                        signed(k, "holdfast/1/descriptor", link["signed"], link["signature"]) for k in signers):
                    raise Bad(f"{name}: it does not follow the one before")
            except Bad as e:
                print(f"a change of keys that cannot be used: {e}", file=sys.stderr)
                broken.append(self.arrived(name))
                continue
            if m[2] not in [other["sum"] for other in good]:  # else the same one, in the name of another key
                good.append(link)
        if not good:
            self.end = min(broken, default=None)
            return False
        if len(good) > 1 and before["owner"]:
            print("two changes of keys follow one another: neither is trusted", file=sys.stderr)
            self.end = min(link["arrived"] for link in good)
            return False
        if len(good) > 1 and good[0]["arrived"] == good[1]["arrived"]:
            raise Bad(f"{good[0]['name']} and {good[1]['name']} came at the same moment and both follow the one before")
        self.links.append(good[0])
        return True

    @property
    def repository(self):
        return self.links[0]["head"]["repository"]

    def all_names(self):
        """Points by their names alone, whoever signed them."""
        return self.in_order([(m[2], m[1], m[3], name) for name in self.vault.names("points") if (m := POINT_NAME.fullmatch(name))])

    def points(self):
        """Points whose names a job's key signed, by signed time; without any descriptor all."""
        if not self.links:
            return self.all_names()
        last = {k: n for n, link in enumerate(self.links) for k in link["job"]}
        out, names = [], {}
        for name in self.vault.names("points"):
            m = POINT_NAME.fullmatch(name)
            if not m:
                continue
            message = f"{self.repository}\n{m[1]}\n{m[2]}\n{m[3]}\n".encode()
            by = [k for k in last if (not m[4] or sha(k)[:8] == m[4]) and signed(k, "holdfast/1/point", message, bytes.fromhex(m[5]))]
            if not by:
                continue
            if int(moment(m[2]).timestamp()) * 10**9 > self.arrived(name):
                print(f"passed by: {name}: signed for a later time than it arrived", file=sys.stderr)
                continue
            names.setdefault(m[3], []).append((self.judge(m[2], m[3], name, last[by[0]]), self.arrived(name), (m[2], m[1], m[3], name)))
        for ident, some in names.items():
            why, _, point = self.one_of(sorted(some, key=lambda x: (x[0] is not None, x[1], x[2])))
            if why:
                self.distrusted[ident] = why
            out.append(point)
        return self.in_order(out)

    def one_of(self, names):
        """Several names of one ID are one point: the first that is right, of those that count before the others (12)."""
        for name in names if len(names) > 1 else []:
            try:
                Point(self.vault, *name[2])
                return name
            except Bad as e:
                print(f"passed by: {e}", file=sys.stderr)
        return names[0]

    def judge(self, stamp, ident, name, last):
        """Why a point does not count for when its key was retired (10); nothing where it does. last is the last descriptor with the key."""
        later = self.links[last + 1:]
        distrusting = False
        for link in reversed(later):
            if f"{stamp}-{ident}" in self.vouched(link):
                return None
            if link["body"].get("distrust_after"):
                distrusting = True
                break
        if distrusting:
            return "its key is distrusted, and no later change of keys lists it"
        at = self.arrived(name)
        if self.end is not None and at >= self.end or later and at >= later[0]["arrived"]:
            return "it arrived after its key was retired"
        if later and int(moment(stamp).timestamp()) * 10**9 > when(later[0]["head"]["created"]):
            return "it was signed after its key was retired"
        return None

    def vouched(self, link):
        """The points that a descriptor lists; a list that cannot be read is as one that is not there."""
        if "listed" not in link:
            try:
                root = link["body"].get("vouched")
                link["listed"] = {line["point"] for line in Point.plain(self.vault).leaves(root)} if root else set()
            except Bad as e:
                print(f"a list of vouched points: {e}", file=sys.stderr)
                link["listed"] = set()
        return link["listed"]

    def doubt(self, point):
        """Why a point is not trusted; nothing where it is, or where no descriptor says anything."""
        if not self.links:
            return None
        longest = max(link["body"]["parameters"]["longest"] for link in self.links)
        if when(point.head["retain_until"]) - when(point.head["signed_at"]) > longest * 10**9:
            return "it says that it is kept for longer than any point of this repository"
        if point.head["descriptor"] not in [link["sum"] for link in self.links]:
            return "it was made under a descriptor that is not here"
        return self.distrusted.get(point.id)

    def in_order(self, points):
        """By signed time; of one second what names another as its predecessor comes later, else the timestamps decide (12)."""
        points.sort(key=lambda p: (p[0], os.stat(os.path.join(self.vault.root, p[3])).st_mtime_ns))
        out, tied = [], {}
        for p in points:
            tied.setdefault((p[0], p[1]), []).append(p)
        for same in tied.values():
            before = {p[2]: self.predecessors(p) if len(same) > 1 else set() for p in same}
            while same:
                left = {p[2] for p in same}
                first = next((p for p in same if not before[p[2]] & left), same[0])
                same.remove(first)
                out.append(first)
        return sorted(out, key=lambda p: p[0])  # stable

    def predecessors(self, point):
        try:
            listed = Point(self.vault, *point).body.get("predecessors", [])
        except Bad:
            return set()
        return {p if isinstance(p, str) else p["id"] for p in listed}


# Commit objects and trees (sections 9 and 5).

class Point:
    def __init__(self, vault, stamp, source, ident, name):
        self.vault, self.source, self.id = vault, source, ident
        lines = vault.read(name, ident, 64 << 10).split(b"\n")
        self.head = parse(lines[0])
        self.newer = self.head["format"] not in FORMATS or bool(self.head.get("requires"))
        self.body = {} if self.newer else parse(lines[1])
        if self.head["kind"] != "point" or self.head["source"] != source or self.head["signed_at"] != moment(stamp).strftime("%Y-%m-%dT%H:%M:%SZ"):
            raise Bad(f"{name}: its head is not what its name says")
        self.bad, self.torn = [], set()

    def note(self, what):
        self.bad.append(what)
        print(what, file=sys.stderr)

    def page(self, ref):
        """The bytes of the page that a reference leads to; Lost where they cannot be had."""
        try:
            page = self.vault.frame(ref["object"], ref["frame"])
        except Bad as e:
            raise Lost(str(e)) from None
        if sha(page) != ref["sha256"]:
            raise Lost(f"{ref['object']}: a page is not the one that was referred to")
        return page

    def lines(self, ref):
        """The lines of a page, without that of a manifest's root; references with the object that they lead to."""
        lines = [parse(line) for line in self.page(ref).split(b"\n")[:-1]]
        if "salt" in lines[0]:
            lines = lines[1:]
        level = ref.get("level", 0)
        if level == 0:
            if len(lines) != ref["entries"]:
                raise Bad("a page has another number of lines than was said")
            return lines
        if sum(r["entries"] for r in lines) != ref["entries"]:
            raise Bad("pages have other totals than was said")
        last = None
        for r in lines:
            r.setdefault("object", ref["object"])  # left out: the one that this page is in
            if r.get("level", 0) != level - 1 or last is not None and text(r, "first") < last:
                raise Bad("pages out of order")
            last = text(r, "first")
        return lines

    def leaves(self, root, lost=None):
        """The lines of the leaves below a reference. lost is told of pages that cannot be had, which else end it."""
        if root["entries"] == 0:
            return
        try:
            lines = self.lines(root)
        except Lost as e:
            if lost is None:
                raise
            lost(e)
            return
        for line in lines:
            if root.get("level", 0) == 0:
                yield line
            else:
                yield from self.leaves(line, lost)

    @classmethod
    def plain(cls, vault):
        """Walks plain trees that belong to no point."""
        walker = cls.__new__(cls)
        walker.vault, walker.bad, walker.torn = vault, [], set()
        return walker

    def needs(self, lost=None):
        return self.leaves(self.head["needs"], lost)

    def entries(self):
        """The entries in order. What is lost is named, and costs what only it leads to."""
        yield from Manifest(self).entries()

    # Content (sections 6 and 7).

    def chunks(self, entry):
        if "chunks" in entry:
            yield from entry["chunks"]
        for extent in entry.get("extents", []):
            yield from self.extent(extent)

    def extent(self, e):
        if e.get("hole"):
            yield {"hole": e["size"]}
            return
        page = self.vault.frame(e["object"], e["frame"])
        if sha(page) != e["sha256"]:
            raise Bad(f"{e['object']}: an extent page is not the one that was referred to")
        total = 0
        for line in [parse(x) for x in page.split(b"\n")[:-1]]:
            total += line.get("hole") if isinstance(line.get("hole"), int) and not isinstance(line.get("hole"), bool) else line["size"]
            if e.get("level"):
                yield from self.extent(line)
            else:
                yield line
        if total != e["size"]:
            raise Bad("an extent page has another size than was said")

    def content(self, entry, out):
        """Writes the content of an entry to a file and checks it."""
        whole, blocks, at = hashlib.sha256(), Blocks(entry["size"]), 0
        by_blocks = entry.get("kind") == "image" or entry.get("sparse")
        pieces = list(self.chunks(entry))
        alone = len(pieces) == 1
        for c in pieces:
            if "hole" in c:
                at += c["hole"]
                out.seek(at)
                if by_blocks:
                    blocks.hole(c["hole"])
                else:
                    for n in range(0, c["hole"], 1 << 20):
                        whole.update(bytes(min(1 << 20, c["hole"] - n)))
                continue
            start = c.get("at", 0)
            data = self.vault.frame(f"packs/{c['pack'][:2]}/{c['pack']}.age", c["frame"])[start:start + c["size"]]
            want = c.get("sha256") or (entry["sha256"] if alone else None)
            if len(data) != c["size"] or sha(data) != want and not (by_blocks and alone):
                raise Bad("a chunk is not what was said")
            out.write(data)
            at += len(data)
            if by_blocks:
                blocks.data(data)
            else:
                whole.update(data)
        out.truncate(entry["size"])
        if at != entry["size"] or (blocks.sum() if by_blocks else whole.hexdigest()) != entry["sha256"]:
            raise Bad("the whole is not what was said")


class Manifest:
    """The pages of a point's manifest, and what can be found of it around lost ones (section 12)."""

    def __init__(self, point):
        self.point = point
        self.lost = []     # inner pages: first, end (None: none), entries that are not found, why
        self.metas = None  # meta objects and the stretches of their payload with pages of the point

    def read(self):
        """Leaves, in order of their first keys: first, group, reference; or the error that all after it is refused for. Those of one group
        follow one another."""
        root = self.point.body["manifest"]
        if root["entries"] == 0:
            return []
        if not root.get("level", 0):
            raise Bad("a manifest's root is a leaf")
        nodes = [{"first": b"", "end": None, "group": 0, "found": False, "heads": False, "known": True, "ref": root}]
        for level in range(root["level"], -1, -1):
            nodes = self.ordered(nodes + self.behind(level, {n["ref"]["sha256"] for n in nodes if "ref" in n}))
            if level == 0:
                return nodes
            below = []
            for at, node in enumerate(nodes):
                below += self.children(node, next((n["first"] for n in nodes[at + 1:] if n["heads"]), None))
            nodes = below

    def children(self, node, following):
        """What a node of an inner page leads to. following is the first key of the next page that was found."""
        if "error" in node:
            return [node]
        try:
            refs = self.point.lines(node["ref"])
        except Lost as e:
            self.lost.append({"first": node["first"], "end": node["end"], "entries": node["ref"]["entries"], "why": e})
            return []
        except Bad as e:  # it was written so: nothing of it, and nothing after it
            return [{"first": node["first"], "found": False, "heads": False, "known": True, "group": 0, "error": e}]
        ends = [x for x in (node["end"], following if node["found"] else None) if x is not None]
        firsts = [text(r, "first") for r in refs] + [min(ends) if ends else None]
        group = object()
        below = [{"first": f, "end": e, "group": group, "found": False, "heads": False, "known": True, "ref": r} for r, f, e in zip(refs, firsts, firsts[1:])]
        below[0]["heads"] = node["heads"]   # the first below a page that was found
        below[-1]["known"] = node["known"]  # which page comes next
        return below

    def ordered(self, nodes):
        """By first key. Of leaves that begin with the same one, that which goes on behind it is the last."""
        groups = {}
        for n in nodes:
            groups.setdefault(n["first"], set()).add(n["group"])
        return sorted(nodes, key=lambda n: (n["first"], len(groups[n["first"]]) > 1 and self.beyond(n)))

    def beyond(self, node):
        if "ref" not in node or node["ref"].get("level", 0):
            return False
        try:
            return text(self.point.lines(node["ref"])[-1], "key") > node["first"]
        except Bad:
            return False

    def behind(self, level, known):
        """Pages of a level below lost pages, that no page leads to."""
        if not self.lost:
            return []
        if self.metas is None:
            self.metas = [(n["name"], n["pages"]) for n in self.point.needs(lambda e: self.point.note(f"a part of the needs list is lost: {e}")) if "pages" in n]
        out = []
        for name, pages in self.metas:
            try:
                payload = self.point.vault.payload(name)
            except Bad:
                continue  # pages in whole objects only
            at, stretches = 0, []
            for skip, length in zip(pages[::2], pages[1::2]):
                stretches.append((at + skip, at + skip + length))
                at += skip + length
            for offset, length in frames(payload):
                if not any(a <= offset and offset + length <= b for a, b in stretches):
                    continue
                try:
                    page = run(["zstd", "-d", "-c", "-q"], payload[offset:offset + length])
                    node = self.found(level, name, [offset, length, len(page)], page)
                except (Bad, KeyError, TypeError):
                    continue  # a page of another level
                if node["ref"]["sha256"] in known:
                    continue
                above = [x for x in self.lost if x["first"] <= node["first"] and (x["end"] is None or node["first"] <= x["end"])]
                if above:
                    known.add(node["ref"]["sha256"])
                    above[0]["entries"] -= node["ref"]["entries"]
                    ends = [x["end"] for x in above]
                    out.append(dict(node, end=None if None in ends else max(ends)))
        return out

    def found(self, level, name, frame, page):
        """The node of a page that may be one of a level; Bad, KeyError or TypeError where it is not."""
        lines = [parse(line) for line in page.split(b"\n")[:-1]]
        if not 1 <= len(lines) <= 4096 or level == 0 and "frame" in lines[0]:
            raise Bad("no such page")
        keys = [text(x, "key" if level == 0 else "first", None) for x in lines]
        if None in keys or any(a > b for a, b in zip(keys, keys[1:])):
            raise Bad("no such page")
        if level and any(x.get("level", 0) != level - 1 or len(x["frame"]) != 3 or not re.fullmatch(HEX64, x["sha256"]) for x in lines):
            raise Bad("no such page")
        entries = sum(x["entries"] for x in lines) if level else len(lines)
        ref = {"level": level, "entries": entries, "object": name, "frame": frame, "sha256": sha(page)}
        return {"first": keys[0], "found": True, "heads": True, "known": False, "group": object(), "ref": ref}

    def stretches(self):
        """What is lost. Lost pages that share a key count as one: nobody knows which of them a page stood below."""
        out = []
        for x in sorted(self.lost, key=lambda x: x["first"]):
            if out and (out[-1]["end"] is None or x["first"] <= out[-1]["end"]):
                ends = [out[-1]["end"], x["end"]]
                out[-1].update(entries=out[-1]["entries"] + x["entries"], end=None if None in ends else max(ends))
            else:
                out.append(dict(x))
        return out

    def entries(self):
        """The entries. Keys of which newer versions may be lost come to be in torn when their last one was given."""
        point, nodes = self.point, self.read()
        lost = self.stretches()
        missing = [x for x in lost if x["entries"] > 0]
        for x in lost:
            until = "" if x["end"] is None else f" to {shown(x['end'])!r}"
            if x["entries"] > 0:
                point.note(f"lost: {x['entries']} entries from {shown(x['first'])!r} on{until}: {x['why']}")
            else:
                print(f"a page is lost, and everything below it was found: {x['why']}", file=sys.stderr)
        last, begins, group, unsure, known = None, None, 0, False, True

        def done(key):
            """Whether newer versions of the last leaf's last key may be elsewhere; key is the next leaf's first, if there is one."""
            if last is None or key == last:
                return
            near = any(x["first"] <= last and (x["end"] is None or last <= x["end"]) for x in missing)
            if unsure or near and (not known or any(x["first"] == last for x in self.lost)):
                point.torn.add(last)

        for node in nodes:
            done(node["first"])
            if "error" in node:
                raise node["error"]
            try:
                lines = point.lines(node["ref"])
            except Lost as e:
                point.note(f"lost: {node['ref']['entries']} entries from {shown(node['first'])!r} on: {e}")
                lines = []
            end = text(lines[-1], "key") if lines else node["first"]
            # Leaves of one key that do not follow each other below one page: which is the newer one is known only where the last goes on behind it.
            unsure = begins == last == node["first"] == end and (unsure or group != node["group"])
            if not lines:
                point.torn.add(end)  # there may be newer versions of it on the page
            yield from lines
            last, begins, group, known = end, node["first"], node["group"], node["known"]
        done(None)


def frames(data):
    """Where the zstd frames of a payload lie (RFC 8878, 3.1.1)."""
    at = 0
    while at + 6 <= len(data):
        begin, bits = at, data[at + 4]
        if data[at:at + 4] != b"\x28\xb5\x2f\xfd":
            return
        single = bits >> 5 & 1
        at += 5 + (1 - single) + (0, 1, 2, 4)[bits & 3] + (single, 2, 4, 8)[bits >> 6]
        final = False
        while not final:
            if at + 3 > len(data):
                return
            block = int.from_bytes(data[at:at + 3], "little")
            final = bool(block & 1)
            at += 3 + (1 if block >> 1 & 3 == 1 else block >> 3)
        at += 4 * (bits >> 2 & 1)
        yield begin, at - begin


class Blocks:
    """The image sum: over ranges of 1 GiB of blocks of 512 KiB that are not all zeros (section 7)."""

    def __init__(self, size):
        self.size, self.at, self.pending = size, 0, b""
        self.ranges, self.current = [], hashlib.sha256()
        self.any = False

    def flush(self, block):
        number = self.at // BLOCK
        if block.strip(b"\0"):
            self.current.update(number.to_bytes(8, "big") + hashlib.sha256(block).digest())
            self.any = True
        self.at += len(block)
        if self.at % (1 << 30) == 0 or self.at == self.size:
            self.close((self.at - 1) >> 30)

    def close(self, number):
        if self.any:
            self.ranges.append(number.to_bytes(8, "big") + self.current.digest())
        self.current, self.any = hashlib.sha256(), False

    def data(self, data):
        self.pending += data
        while len(self.pending) >= BLOCK or self.pending and self.at + len(self.pending) == self.size:
            block, self.pending = self.pending[:BLOCK], self.pending[BLOCK:]
            self.flush(block)

    def hole(self, n):
        while n and (self.pending or n < BLOCK):
            part = min(n, BLOCK - len(self.pending))
            self.data(bytes(part))
            n -= part
        while n >= BLOCK:
            end = min(self.at + n - n % BLOCK, (self.at >> 30) + 1 << 30)
            n -= end - self.at
            self.at = end
            if self.at % (1 << 30) == 0 or self.at == self.size:
                self.close((self.at - 1) >> 30)
        if n:
            self.data(bytes(n))

    def sum(self):
        return sha(b"holdfast/1/image\0" + self.size.to_bytes(8, "big") + b"".join(self.ranges))


# Commands.

def choose(chain, want):
    points = chain.points()
    if not chain.links:
        return by_full_id(chain, points, want)
    if "@" in want:
        source, _, which = want.partition("@")
        if which != "latest":
            raise Bad("POINT is an ID, the beginning of one, or SOURCE@latest")
        for stamp, name, ident, path in reversed([p for p in points if p[1] == source]):
            p = Point(chain.vault, stamp, name, ident, path)
            if p.newer:
                print(f"passed by: {ident} needs a newer reader", file=sys.stderr)
            elif chain.doubt(p):
                print(f"passed by: {ident}: {chain.doubt(p)}", file=sys.stderr)
            elif p.head["status"] == "complete" and not p.body.get("marks"):
                return p
        raise Bad(f"no complete point of {source}")
    hits = {p[2]: p for p in points if p[2].startswith(want)}
    if not hits and chain.end is not None and re.fullmatch(HEX64, want):
        print("no key that this vault shows signed it: nothing vouches for the point but its full ID", file=sys.stderr)
        return by_full_id(chain, chain.all_names(), want)
    if len(hits) != 1:
        raise Bad(f"{want}: {len(hits)} points")
    point = Point(chain.vault, *hits.popitem()[1])
    if chain.doubt(point):
        print(f"not trusted: {point.id}: {chain.doubt(point)}", file=sys.stderr)
    return point


def by_full_id(chain, points, want):
    """Without any descriptor: the bytes that have the ID as their hash, under whatever name is theirs (12)."""
    if not re.fullmatch(HEX64, want):
        raise Bad("without a descriptor POINT is a full ID, all 64 digits of it, from paper or a report")
    for p in points:
        if p[2] == want:
            try:
                return Point(chain.vault, *p)
            except Bad as e:
                print(f"passed by: {e}", file=sys.stderr)
    raise Bad(f"{want}: no such point")


def inside(root, key):
    """The path of a key below a folder, or Bad where it could leave it (section 6)."""
    parts = key.rstrip(b"/").split(b"/") if key != b"./" else []
    if any(p in (b"", b".", b"..") or b"\0" in p for p in parts):
        raise Bad(f"{shown(key)!r} is no relative path")
    at = os.fsencode(root)
    for p in parts[:-1]:
        at = os.path.join(at, p)
        if os.path.islink(at):
            raise Bad(f"{shown(key)!r} leads through a link")
    return os.path.join(os.fsencode(root), *parts)


def when(t):
    """Nanoseconds since 1970."""
    whole, _, rest = t.rstrip("Z").partition(".")
    seconds = int((datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S") - datetime(1970, 1, 1)).total_seconds())
    return seconds * 10**9 + int((rest + "000000000")[:9])


def manners(path, entry):
    f = entry.get("file", {})
    if os.geteuid() == 0 and "file" in entry:
        os.lchown(path, f.get("uid", 0), f.get("gid", 0))
    if not os.path.islink(path):
        if "mode" in f:
            os.chmod(path, int(f["mode"], 8))
        for name, value in list(f.get("xattrs", {}).items()):
            os.setxattr(path, name, base64.b64decode(value), follow_symlinks=False)
    if "modified" in entry:
        os.utime(path, ns=(when(entry["modified"]),) * 2, follow_symlinks=False)


def restore_one(point, root, entry, links):
    kind, key = entry.get("kind", "object"), text(entry, "key")
    f = entry.get("file", {})
    if "missing" in entry:
        raise Bad(f"it is not in the point: {shown(text(entry, 'missing'))}")
    path = inside(root, key)
    os.makedirs(os.path.dirname(path) or b".", exist_ok=True)
    if kind == "dir":
        os.makedirs(path, exist_ok=True)
        return
    if kind == "symlink":
        os.symlink(text(f, "target"), path)
    elif kind == "special":
        if f["type"] != "fifo":
            raise Bad(f"a {f['type']} is not made")
        os.mkfifo(path)
    elif kind in ("object", "file", "image", "document", "stream"):
        same = links.get((f.get("device"), f.get("inode"))) if f.get("links", 0) > 1 else None
        if same:
            os.link(same, path)
            return
        if os.path.isdir(path):
            raise Bad("a folder is in its place")
        with open(path, "wb") as out:
            point.content(entry, out)
        if f.get("links", 0) > 1:
            links[(f.get("device"), f.get("inode"))] = path
    else:
        raise Bad(f"kind {kind} is not known")
    manners(path, entry)


def current(point):
    """Of the entries of one key the last one; nothing where that is a marker, or where newer ones may be lost (12)."""
    def newest(entry):
        if text(entry, "key") in point.torn and (entry.get("kind") == "marker" or "kind" not in entry and "version_id" in entry):
            point.note(f"left out: {shown(text(entry, 'key'))!r}: newer versions of it may be lost")
        elif entry.get("kind") != "marker":
            yield entry

    last = None
    for e in point.entries():
        if last is not None and text(last, "key") != text(e, "key"):
            yield from newest(last)
        point.torn.discard(text(e, "key"))
        last = e
    if last is not None:
        yield from newest(last)


def restore(point, root):
    os.makedirs(root, exist_ok=True)
    folders, links, failed = [], {}, 0
    for entry in current(point):
        try:
            restore_one(point, root, entry, links)
            if entry.get("kind") == "dir":
                folders.append(entry)
        except (Bad, OSError) as e:
            failed += 1
            print(f"failed: {shown(text(entry, 'key'))!r}: {e}", file=sys.stderr)
    for entry in reversed(folders):  # what is in a folder changes its time
        manners(inside(root, text(entry, "key")), entry)
    return failed


def check(point):
    """Everything the point needs is there, as large as it was, with the bytes that its name says."""
    failed = objects = size = 0
    for need in point.needs():
        try:
            data = point.vault.read(need["name"])
            if len(data) != need["size"]:
                raise Bad(f"{need['name']}: {len(data)} bytes instead of {need['size']}")
            objects, size = objects + 1, size + len(data)
        except Bad as e:
            failed += 1
            print(f"failed: {e}", file=sys.stderr)
    print(f"{objects} objects, {size} bytes, {failed} failed")
    return failed


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("command", choices=["points", "check", "list", "restore"])
    a.add_argument("vault")
    a.add_argument("point", nargs="?")
    a.add_argument("-i", "--identity")
    a.add_argument("--to")
    a.add_argument("--fingerprint", default="")
    o = a.parse_args()
    if o.command != "points" and not o.point or o.command in ("list", "restore") and not o.identity or o.command == "restore" and not o.to:
        a.error("something is missing: see --help")
    try:
        chain = Chain(Vault(o.vault, o.identity), o.fingerprint)
        if chain.links:
            print(f"repository {chain.links[0]['sum']}" + ("" if o.fingerprint else ", not pinned: compare it with your paper"), file=sys.stderr)
        if o.command == "points":
            for stamp, source, ident, name in chain.points():
                try:
                    p = Point(chain.vault, stamp, source, ident, name)
                except Bad as e:
                    if chain.links:
                        raise
                    print(f"passed by: {e}", file=sys.stderr)  # anybody's name
                    continue
                print(json.dumps({"point": ident, "source": source, "signed_at": p.head["signed_at"], "retain_until": p.head["retain_until"],
                                  "status": "newer" if p.newer else p.head["status"], "entries": p.body.get("entries"), "bytes": p.body.get("bytes"),
                                  "vouched": bool(chain.links), "distrusted": chain.doubt(p)}))
            return 0 if chain.links else 3
        point = choose(chain, o.point)
        if o.command == "check":
            return 3 if check(point) or not chain.links else 0
        if point.newer:
            raise Bad("this point needs a newer reader")
        failed = 0
        if o.command == "list":
            for entry in point.entries():
                print(json.dumps(entry, ensure_ascii=False, separators=(",", ":")))
        else:
            failed = restore(point, o.to)
        return 3 if failed or point.bad or not chain.links else 0
    except (Bad, OSError) as e:
        print(f"holdfast_reader: {e}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
