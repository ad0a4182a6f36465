"""Trains the guard's trees on pairs made by rule and writes src/cache/guard/data/trees.txt.

    cargo build --release --example guard_features
    python scripts/guard/pairs.py > pairs.jsonl
    python scripts/guard/train.py --pairs pairs.jsonl --features target/release/examples/guard_features \
        --strict 0.9 --balanced 0.3

The features are computed by the code that serves. Pairs that a veto decides are left out: the
trees only see what they will be asked. The two operating points are given by hand, from what
`scripts/semantic-eval` measures.
"""

import argparse
import pathlib
import subprocess
import zlib

import lightgbm as lgb
import numpy as np

OUT = pathlib.Path(__file__).resolve().parents[2] / "src/cache/guard/data/trees.txt"
# More of it never makes two prompts more (1) or less (-1) the same.
UP = "same_body same_whole shared jaccard contained frame wh order_share length content_low".split()
DOWN = """left_max left_sum left_low left_high bound_low bound_high bound_place persons tense modal siblings run sentences
unknown negated past owner asks governor moods shown vague ing free tie_derived tie_sense tie_typo tie_same tie_joined filler order soft""".split()


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--pairs", required=True)
    ap.add_argument("--features", required=True)
    ap.add_argument("--out", default=OUT, type=pathlib.Path)
    ap.add_argument("--strict", type=float, default=0.9)
    ap.add_argument("--balanced", type=float, default=0.3)
    ap.add_argument("--trees", type=int, default=160)
    a = ap.parse_args()
    import json

    rows = [json.loads(line) for line in open(a.pairs, encoding="utf-8")]
    text = "\n".join(json.dumps({"a": r["a"], "b": r["b"]}) for r in rows)
    out = subprocess.run([a.features], input=text, capture_output=True, text=True, check=True).stdout.split("\n")
    names = out[0].split()[2:]
    lines = [line.split(" ") for line in out[1:] if line]
    assert len(lines) == len(rows)
    open_ = [i for i, line in enumerate(lines) if line[0] == "-"]
    x = np.array([[float(v) for v in lines[i][2:]] for i in open_], dtype=np.float32)
    y = np.array([rows[i]["label"] for i in open_])
    print(f"{len(rows)} pairs, {len(open_)} open: {y.sum()} same, {len(y) - y.sum()} different")
    mono = [1 if n in UP else -1 if n in DOWN else 0 for n in names]
    params = dict(objective="binary", num_leaves=24, max_depth=5, learning_rate=0.08, min_data_in_leaf=60, lambda_l2=1.0, monotone_constraints=mono,
                  monotone_constraints_method="intermediate", num_threads=1, seed=7, verbose=-1, deterministic=True, force_row_wise=True, feature_fraction=0.7, bagging_fraction=0.8, bagging_freq=1)
    rng = np.random.default_rng(1)
    test = rng.random(len(y)) < 0.1
    model = lgb.train(params, lgb.Dataset(x[~test], y[~test]), a.trees)
    p = model.predict(x[test])
    for t in (0.5, 0.8, 0.9, 0.95, 0.97):
        print(f"  made pairs at {t}: recall {100 * (p[y[test] == 1] >= t).mean():.1f} %, false hits {100 * (p[y[test] == 0] >= t).mean():.2f} %")
    gain = model.feature_importance("gain")
    print(", ".join(f"{names[i]} {100 * gain[i] / gain.sum():.1f}" for i in np.argsort(-gain)[:16]))
    model = lgb.train(params, lgb.Dataset(x, y), a.trees)
    body = export(model)
    hash_ = zlib.crc32(",".join(names).encode())
    head = f"trees 1 features={hash_:x} base=0 strict={a.strict} balanced={a.balanced} sum={zlib.crc32(body.encode()):x}\n"
    note = f"# Trained by scripts/guard/train.py on pairs made by scripts/guard/pairs.py; see NOTICE.\n# {len(open_)} pairs, {a.trees} trees.\n"
    a.out.write_text(note + head + body, encoding="utf-8")
    print(a.out, a.out.stat().st_size, "bytes")


def export(model):
    lines = []

    def walk(node, nodes):
        at = len(nodes)
        nodes.append(None)
        if "leaf_value" in node:
            nodes[at] = f"l {node['leaf_value']:.5g}"
            return at
        low = walk(node["left_child"], nodes)
        high = walk(node["right_child"], nodes)
        # f32 thresholds: rounded up a little, so that what was at most the threshold stays so.
        nodes[at] = f"s {node['split_feature']} {np.float32(node['threshold']):.8g} {low} {high}"
        return at

    for tree in model.dump_model()["tree_info"]:
        nodes = []
        walk(tree["tree_structure"], nodes)
        lines += ["tree", *nodes]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
