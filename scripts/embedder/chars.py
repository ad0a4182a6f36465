#!/usr/bin/env python3
"""Makes what the tokenizer knows of characters, and the cases that check it, from the package
`tokenizers` itself: src/cache/embed/data/chars.bin and src/cache/embed/cases.jsonl.

Usage: chars.py --teacher DIR        (the folder of distil.py, of which vocab.txt is read)

chars.bin: u32 number of runs, u32 number of folds, then
  runs    u32 each: first code point << 8 | what it is (0 word, 1 dropped, 2 space, 3 alone, 4 mark);
          a run ends where the next begins
  folds   4 × u32 each: a code point, and the one to three that stand for it (0: none), sorted.
          Left out: ASCII, and Hangul syllables, which arithmetic takes apart.
"""

import argparse
import json
import random
import struct
import sys
from pathlib import Path

from distil import sums
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

ROOT = Path(__file__).resolve().parent.parent.parent
WORD, DROPPED, SPACE, ALONE, MARK = range(5)
HANGUL = range(0xAC00, 0xD7A4)

CASES = """
What is the capital of France?
how do I   convert 12.5 km/h to mph???
Don't stop; it's O'Brien's "well-known" co-op (e.g. 3rd-party).
foo_bar(baz)[0] += a->b && !c || d ^ e; // comment #42 @home $9.99 50% ~/x `y` {z} | \\ / < > =
https://example.com/a/b?c=d&e=f#g  user@example.org 192.168.0.1 2001:db8::1
ALL CAPS AND MiXeD cAsE iPhone McDonald
unaffable antidisestablishmentarianism floccinaucinihilipilification
Café naïve résumé Ångström Ærøskøbing Łódź Dvořák São Paulo Zürich Malmö
ÇA VA? ÉCOLE, ÑANDÚ, ÜBER, ŞİŞLİ, İstanbul, ISPARTA, ıspanak
straße STRASSE ﬁne ﬀ ŉ ǆ Ǆ ǅ
ﬁ ligature, ½ cup, 10² m³, №5, ™ ® © ℃ Ω K
e\u0301 vs é; a\u0323\u0307 b\u0307\u0323; n\u0303 o\u0308\u0304
Ελλάδα ΑΘΗΝΑ ΟΔΥΣΣΕΥΣ σς άέήίόύώ ᾳ ᾼ ΐ ; ·
Привет, мир! Ёлка й Й Україна ґ
שָׁלוֹם עולם ‏right‎ left
مرحبا بالعالم، السَّلامُ عَلَيْكُم ٣٤٥ ۴۵ ؟
हिन्दी में क्या है? नमस्ते भारत क़ ख़
বাংলা কো কৌ தமிழ் கொ கௌ മലയാളം ສະບາຍດີ ไทย ภาษา
中文分词测试 北京 和 上海，多少钱？「引用」。
日本語のテスト カタカナ ひらがな が ガ パ ｶﾞ 、。
한국어 테스트 각 값 뷁 ᄒ ᅡ ᆫ
𠀀𠀁 𪚥 豈 更 車 丽 〇 ㍿ ㊀ 々 〆
emoji 🍕 and 🍔, 👩‍💻 👨‍👩‍👧‍👦 🇫🇷🇩🇪 ❤️ ☺ ✈️ 🏽 1️⃣
zero\u200bwidth non\u200cjoiner jo\u200diner bom\ufeff soft\u00adhyphen
tab\there\nnew line\r\nreturn\u000bvertical\u000cform\u0085next\u00a0nbsp\u2003em\u3000wide\u2028ls\u2029ps
nul\u0000 bell\u0007 esc\u001b[31m del\u007f c1\u0080\u009f repl\ufffd priv\ue000 \U000f0000 nonchar\ufffe\uffff
‘single’ “double” „low“ «guillemets» ‹x› — – ‐ ‑ … • ¡hola! ¿qué? § ¶ † ‡ ※ ⁂ 〈〉【】
math: ∑ ∫ √ ∞ ≠ ≤ ≥ ± × ÷ → ← ⇒ ∈ ∀ ∃ 𝐀𝒃ℂ𝟘 αβγ π≈3.14159
+ < = > | ~ ^ $ ` £ € ¥ ₹ ₿ ¢ ¤ ° ´ ¨ ¸ ˜ ˆ
[CLS] [SEP] [MASK] [UNK] [PAD] ##ing ##s #hash
ｆｕｌｌ ｗｉｄｔｈ ＡＢＣ １２３ ！？
ﷺ ﷲ ﻻ ￼ 
\u0130 i\u0307 \u1e9e \u0149 \u01c6 \u1f88 \u03f4 \u212b \u2126 \u212a
ꙮ Ꙁ Ꮳ ꮳ Ა ა Ⴀ ⴀ Ⅷ ⅷ Ⓐ ⓐ 𐐀 𐐨 𞤀 𞤢
\u302e\u302f \u3099\u309a か\u3099 \u0f71\u0f72 \u16ff0 \U0001d15e \U0001d165
aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
ééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé éé
жжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжжж ж
0123456789 3.14 1,000,000 1e-9 0xDEADBEEF 2024-02-29T12:34:56Z v1.2.3-rc.4+build.5
supercalifragilisticexpialidocious xqzjkvwpt zzzzzzzz qwertyuiop asdfghjkl
a . , ! ? - ' " : ;
"""


def tokenizer_of(teacher):
    """The teacher's tokenizer, but a text that says [CLS] is a text that says [CLS]."""
    vocab = (teacher / "vocab.txt").read_text().splitlines()
    ids = {token: i for i, token in enumerate(vocab)}
    made = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return made


def look(normal, split, char):
    """What a character is, and what stands for it where that is not itself."""
    between = normal.normalize_str(f"a{char}b")
    assert between[0] == "a" and between[-1] == "b", hex(ord(char))
    inner = between[1:-1]
    if inner == "":
        return DROPPED, None
    if inner == " ":
        return SPACE, None
    if inner[0] == " ":
        return ALONE, inner[1:-1] if inner[1:-1] != char else None
    parts = split.pre_tokenize_str(f"a{char}b")
    kind = {1: WORD, 3: MARK}[len(parts)]
    return kind, inner if inner != char else None


def chars(made):
    runs, folds, last = [], [], None
    for code in range(0x110000):
        if 0xD800 <= code < 0xE000:
            continue
        kind, fold = look(made.normalizer, made.pre_tokenizer, chr(code))
        if kind != last:
            runs.append(code << 8 | kind)
            last = kind
        if fold is not None and code not in HANGUL and code >= 0x80:
            assert len(fold) <= 3, hex(code)
            folds.append([code, *(ord(c) for c in fold), 0, 0, 0][:4])
    head = struct.pack("<II", len(runs), len(folds))
    body = struct.pack(f"<{len(runs)}I", *runs)
    return head + body + b"".join(struct.pack("<4I", *fold) for fold in folds)


def cases():
    """Those above, and some at random: of each block of 256 characters, and words with accents."""
    yield from (line for line in CASES.split("\n") if line)
    yield "a\nb\n\n c"
    yield ""
    yield " \t "
    rng = random.Random(7)
    planes = [c for c in range(0x20, 0x20000) if not 0xD800 <= c < 0xE000] + list(range(0xE0000, 0xE01F0))
    for _ in range(200):
        block = rng.choice(planes) & ~0xFF
        some = [c for c in range(block, block + 256) if not 0xD800 <= c < 0xE000]
        yield "".join(chr(rng.choice(some)) + rng.choice(["", "", "a", " ", "."]) for _ in range(24))
    latin = [c for c in range(0xC0, 0x250)] + list(range(0x300, 0x330)) + list(range(0x61, 0x7B)) * 8
    for _ in range(100):
        yield "".join(rng.choice([chr(rng.choice(latin))] * 7 + [" "]) for _ in range(40))


def main():
    args = argparse.ArgumentParser(description="Makes chars.bin and cases.jsonl.")
    args.add_argument("--teacher", type=Path, required=True)
    args.add_argument("--out", type=Path, default=ROOT / "src/cache/embed")
    args = args.parse_args()
    made = tokenizer_of(args.teacher)
    (args.out / "data").mkdir(parents=True, exist_ok=True)
    data = chars(made)
    (args.out / "data/chars.bin").write_bytes(data)
    sums(args.out / "data")
    lines = [json.dumps({"text": t, "ids": made.encode(t).ids}) + "\n" for t in cases()]
    (args.out / "cases.jsonl").write_text("".join(lines))
    print(f"chars: {len(data):,} bytes of characters, {len(lines)} cases", file=sys.stderr)


if __name__ == "__main__":
    main()
