#!/usr/bin/env python3
"""Makes the built-in embedder: src/cache/embed/data/{table.bin,vocab.txt,SHA256SUMS}.

    teacher (a sentence encoder)          student (one row a token, summed up)
    token alone ─► 384 numbers ─┐
                                ├─ 256 main directions ─ common tokens weigh less ─► first guess
    105,000 texts ► 384 each ───┘                                                        │
                  └────────────── ridge regression: sum of rows ≈ teacher's vector ◄─────┘─► int8

Usage: distil.py --teacher DIR --texts FILE --work DIR [--out DIR] [--threads 1]

  --teacher  a folder with model.onnx, tokenizer.json and vocab.txt of all-MiniLM-L6-v2
             (README.md beside this file says where from); checksums must be those below
  --texts    one text a line, as texts.py writes them
  --work     where teacher vectors are kept, so that a second run need not ask again

The model's licence is Apache-2.0, and so is the table's; data/NOTICE names the texts' sources.
"""

import argparse
import hashlib
import struct
import sys
import time
from pathlib import Path

import numpy as np
import scipy.sparse as sparse
from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parent.parent.parent
DIMS = 256
TOKENS = 30_522
# One token and two marks around it; no text is longer than this many tokens for the teacher.
TOKENS_MAX = 128
CLS, SEP = 101, 102
# Weight of a token of frequency p is COMMON / (COMMON + p): Arora et al. 2017, "SIF".
COMMON = 1e-4
# How hard the regression holds on to the first guess.
RIDGE = 1.0
STEPS = 40
MAGIC = b"SGTABLE1"
SHA256 = {
    "model.onnx": "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}


def say(text):
    print(f"distil: {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def unit(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


class Teacher:
    """all-MiniLM-L6-v2 in int8: mean of the last layer, length 1."""

    def __init__(self, folder, threads):
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.model = ort.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self.inputs = {i.name for i in self.model.get_inputs()}

    def batch(self, ids):
        shape = (len(ids), max(map(len, ids)))
        tokens, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for row, one in enumerate(ids):
            tokens[row, : len(one)], mask[row, : len(one)] = one, 1
        feed = {"input_ids": tokens, "attention_mask": mask}
        if "token_type_ids" in self.inputs:
            feed["token_type_ids"] = np.zeros(shape, np.int64)
        last = self.model.run(["last_hidden_state"], feed)[0]
        return (last * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)

    def vectors(self, ids, size=64):
        """A vector for each list of token ids; lists of like length go together."""
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        found = np.zeros((len(ids), 384), np.float32)
        for start in range(0, len(order), size):
            some = order[start : start + size]
            found[some] = self.batch([ids[i] for i in some])
            if start // size % 50 == 0:
                say(f"{start:6} of {len(ids)} texts asked")
        return unit(found)


def kept(path, key, make):
    """What `make` gives, from `path` where it was made before for the same `key`."""
    digest = hashlib.sha256(key).hexdigest()[:16]
    path = path.with_name(f"{path.stem}-{digest}.npy")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, make())
    return np.load(path)


def bags(ids):
    """Text × token: how often."""
    rows = np.repeat(np.arange(len(ids)), [len(one) for one in ids])
    columns = np.concatenate([np.asarray(one, np.int64) for one in ids])
    ones = np.ones(len(columns), np.float32)
    return sparse.csr_matrix((ones, (rows, columns)), shape=(len(ids), TOKENS))


def solve(alone, ids, theirs):
    """Rows whose sums come near to the teacher's vectors of whole texts."""
    centred = theirs - theirs.mean(0)
    _, _, axes = np.linalg.svd(centred[:20_000], full_matrices=False)
    axes = axes[:DIMS].T
    goal = theirs @ axes
    counted = bags(ids)
    times = np.asarray(counted.sum(0)).ravel()
    share = (times + 1) / (times.sum() + TOKENS)
    weight = COMMON / (COMMON + share)
    first = unit(alone - alone.mean(0)) @ axes * weight[:, None]
    length = np.maximum(np.asarray(counted.sum(1)).ravel(), 1)
    sums = sparse.diags(1 / np.sqrt(length)) @ counted
    guess = sums @ first
    first *= (guess * goal).sum() / (guess * guess).sum()
    square = (sums.T @ sums).tocsr()
    # Conjugate gradients, all 256 columns side by side: (S'S + RIDGE) more = S'(goal − S first).
    rest = sums.T @ (goal - sums @ first)
    more, step, size = np.zeros_like(rest), rest.copy(), (rest * rest).sum(0)
    for _ in range(STEPS):
        ahead = square @ step + RIDGE * step
        far = size / np.maximum((step * ahead).sum(0), 1e-12)
        more += far * step
        rest -= far * ahead
        now = (rest * rest).sum(0)
        step = rest + (now / np.maximum(size, 1e-12)) * step
        size = now
    rows = (first + more).astype(np.float32)
    near = unit(sums @ rows)
    say(f"mean cosine to the teacher on its own texts: {(near * unit(goal)).sum(1).mean():.4f}")
    return rows


def sums(folder):
    """SHA256SUMS of the data that there is."""
    made = [p for p in sorted(folder.iterdir()) if p.name in ("chars.bin", "table.bin", "vocab.txt")]
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in made]
    (folder / "SHA256SUMS").write_text("".join(lines))


def write(rows, vocab, out):
    """table.bin: magic, u32 tokens, u32 dims, zeros up to 64; the rows in int8; their f32 scales."""
    scale = np.abs(rows).max(1) / 127
    whole = np.round(rows / np.maximum(scale, 1e-9)[:, None]).astype(np.int8)
    out.mkdir(parents=True, exist_ok=True)
    head = (MAGIC + struct.pack("<II", *rows.shape)).ljust(64, b"\0")
    body = whole.tobytes() + scale.astype("<f4").tobytes()
    (out / "table.bin").write_bytes(head + body)
    (out / "vocab.txt").write_bytes(vocab)
    sums(out)
    say(f"wrote {out} ({len(head) + len(body):,} bytes)")


def main():
    args = argparse.ArgumentParser(description="Makes the table of the built-in embedder.")
    args.add_argument("--teacher", type=Path, required=True)
    args.add_argument("--texts", type=Path, required=True)
    args.add_argument("--work", type=Path, required=True)
    args.add_argument("--out", type=Path, default=ROOT / "src/cache/embed/data")
    args.add_argument("--threads", type=int, default=1)
    args = args.parse_args()
    for name, want in SHA256.items():
        if hashlib.sha256((args.teacher / name).read_bytes()).hexdigest() != want:
            sys.exit(f"distil: {args.teacher / name} is not the file this was made for")
    vocab = (args.teacher / "vocab.txt").read_bytes()
    tokenizer = Tokenizer.from_file(str(args.teacher / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(TOKENS_MAX - 2)
    texts = args.texts.read_text().splitlines()
    ids = [e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=False)]
    teacher = Teacher(args.teacher, args.threads)
    alone = kept(
        args.work / "tokens", b"alone", lambda: teacher.vectors([[CLS, t, SEP] for t in range(TOKENS)])
    )
    say(f"{len(texts):,} texts, {sum(map(len, ids)):,} tokens")
    theirs = kept(
        args.work / "texts",
        "\n".join(texts).encode(),
        lambda: teacher.vectors([[CLS, *one, SEP] for one in ids]),
    )
    write(solve(alone, ids, theirs), vocab, args.out)


if __name__ == "__main__":
    main()
