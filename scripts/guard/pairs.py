"""Makes pairs of prompts with a label: 1, one answer serves both; 0, it does not.

All by rule: sentences are built from the templates and word lists below and from the words of
src/cache/guard/data (WordNet, GeoNames; see NOTICE there), then changed in ways that keep the
meaning (label 1) or that do not (label 0). No third-party question is used.

    python scripts/guard/pairs.py [--count 80000] [--seed 1] > pairs.jsonl
"""

import argparse
import collections
import json
import pathlib
import random
import re

DATA = pathlib.Path(__file__).resolve().parents[2] / "src/cache/guard/data"
R = random.Random(1)

# ---------------------------------------------------------------- words
VERBS = """learn teach improve reduce increase remove clean fix repair install update delete create build make write read
draw paint cook bake boil fry grow plant cut sell buy rent choose compare calculate measure convert translate summarize
explain describe solve prove test check verify find locate track recover restore save store move copy send receive share
download upload open close lock unlock start stop prevent avoid treat cure manage control handle organize plan prepare
practice train study pass join leave apply register cancel change replace connect configure deploy debug optimize protect
secure hide show print scan record edit publish promote advertise design invent discover develop test review rate count
sort filter merge split parse format validate encrypt wash dry iron fold sew knit tie carry lift throw catch feed raise
adopt breed groom ride drive park fly visit explore cross reach climb win lose beat play watch hear touch smell taste eat
drink digest burn melt freeze heat cool mix blend pour fill empty break bend stretch compress drop hang mount wrap pack
ship deliver order pay earn invest donate spend borrow lend insure claim sue appeal vote elect govern marry divorce forgive
trust respect love hate miss ignore help support encourage motivate inspire criticize praise thank greet invite introduce
meet date impress attract persuade convince negotiate interview hire fire promote""".split()
ADJ = """small large old new cheap expensive simple complex modern ancient local foreign natural artificial organic digital electric
wooden plastic metal heavy light dark bright clean dirty dry wet hot cold warm fresh frozen raw cooked sweet spicy healthy
sick strong weak fast slow quiet loud safe dangerous public private personal social financial legal medical technical
scientific historical political economic environmental mental physical emotional chronic severe mild rare common popular
famous successful professional amateur advanced basic serious funny sad happy lonely shy lazy busy rich poor young elderly
pregnant newborn tall short long deep narrow wide thick thin soft hard smooth rough round square empty full free open closed
global rural urban wild domestic international national regional temporary permanent annual weekly daily seasonal""".split()
OPINION = ["best", "cheapest", "fastest", "easiest", "largest", "oldest", "most popular", "most important", "worst", "safest"]
PREPS = ["in", "on", "at", "for", "with", "without", "from", "to", "under", "near", "behind", "during", "after", "before", "about", "of", "by"]
ROLES = """beginner student teenager child woman man parent teacher nurse farmer driver tourist vegetarian diabetic senior
programmer manager company startup school hospital""".split()
PLURAL = {"child": "children", "woman": "women", "man": "men", "company": "companies"}
POLITE_A = """Please|Hi,|Hello,|Hello!|Hey,|Hi there,|Good morning,|Quick question:|Question:|Can you tell me|Could you tell me|Please tell me|
Could you please explain|I want to know|I would like to know|I'd like to know|I was wondering|Just curious,|Do you know|Does anyone know|
Tell me|Excuse me,|Sorry,|So,|Well,|Ok,|Hi everyone,|Dear all,|I have a question:|May I ask|Let me know|Can anyone tell me|Just wondering,|
Hey guys,|Kindly tell me|Would you mind telling me|I need to know|Can you explain|Can you help me understand|Please help me understand""".replace("\n", "").split("|")
POLITE_Z = """Thanks|Thanks!|Thank you|Thank you!|Thanks in advance|thx|Please help|Please answer|Please|Cheers|Many thanks|Thank you very much|
Any help is appreciated|Thanks a lot|please help me|Please advise|Please explain|Thank you so much|Any ideas?|Help please|Please let me know""".replace("\n", "").split("|")
SHORT = [("what is", "what's"), ("who is", "who's"), ("where is", "where's"), ("how is", "how's"), ("do not", "don't"), ("does not", "doesn't"),
         ("is not", "isn't"), ("are not", "aren't"), ("can not", "can't"), ("cannot", "can't"), ("will not", "won't"), ("did not", "didn't"),
         ("i am", "i'm"), ("i have", "i've"), ("it is", "it's"), ("that is", "that's"), ("what are", "what're"), ("should not", "shouldn't"),
         ("i will", "i'll"), ("you are", "you're"), ("they are", "they're"), ("would not", "wouldn't"), ("could not", "couldn't")]
UK = [("color", "colour"), ("favorite", "favourite"), ("behavior", "behaviour"), ("neighbor", "neighbour"), ("center", "centre"),
      ("theater", "theatre"), ("organize", "organise"), ("analyze", "analyse"), ("optimize", "optimise"), ("summarize", "summarise"),
      ("flavor", "flavour"), ("labor", "labour"), ("fiber", "fibre"), ("gray", "grey"), ("program", "programme"), ("defense", "defence"),
      ("license", "licence"), ("traveling", "travelling"), ("jewelry", "jewellery"), ("tire", "tyre"), ("recognize", "recognise")]
NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty".split()
UNITS = ["days", "weeks", "months", "years", "hours", "minutes", "kg", "pounds", "miles", "km", "liters", "dollars", "euros", "pages", "words", "steps", "people", "times"]
FILLERS = ["really", "actually", "currently", "usually", "generally", "quickly", "easily", "properly", "exactly", "basically", "typically", "normally", "effectively", "correctly", "successfully"]
TOPICS = ["python", "java", "javascript", "excel", "linux", "docker", "android", "instagram", "gmail", "whatsapp", "bitcoin", "photoshop", "minecraft", "kubernetes", "windows", "youtube"]


def words_of(path):
    rows = {}
    for line in open(path, encoding="utf-8"):
        if line[0] in "#!":
            continue
        w, lemma, rarity, cls, sense, flags = line.split()
        rows[w] = (lemma, int(rarity, 16), int(cls), int(sense), flags)
    return rows


WORDS = words_of(DATA / "words.txt")
MEANING = open(DATA / "meaning.txt", encoding="utf-8").read()
FUNCTION = {w for line in MEANING.split("\n") for kind in ("free: ", "bind: ", "filler: ") if line.startswith(kind) for w in line[len(kind):].split()}
SAME = [g.split() for line in MEANING.split("\n") if line.startswith("same: ") for g in line[6:].split(";")]
SAME = [[w for w in g if "-" not in w and "." not in w] for g in SAME]
SAME_OF = collections.defaultdict(set)
for g in SAME:
    for w in g:
        SAME_OF[w] |= set(g) - {w}
NOUN_CLASSES = {5: "act", 6: "animal", 7: "artifact", 8: "attribute", 9: "body", 10: "cognition", 11: "communication", 12: "event", 14: "food",
                15: "group", 16: "location", 18: "object", 19: "person", 20: "phenomenon", 21: "plant", 22: "possession", 24: "quantity",
                26: "state", 27: "substance", 28: "time", 12: "event", 13: "feeling"}
BY_CLASS = collections.defaultdict(list)
BY_SENSE = collections.defaultdict(list)
PLACES = []
for w, (lemma, rarity, cls, sense, flags) in WORDS.items():
    if w in FUNCTION or len(w) < 3:
        continue
    if "L" in flags and rarity <= 13:
        PLACES.append(w)
    elif lemma == "-" and "N" not in flags and rarity <= 12 and cls in NOUN_CLASSES:
        BY_CLASS[cls].append(w)
    if sense and lemma == "-" and not set("LN") & set(flags) and rarity <= 13:
        BY_SENSE[sense].append(w)
SENSE_OF = {w: s for s, ws in BY_SENSE.items() for w in ws if len(ws) > 1}
NOUNS = [w for c in (5, 6, 7, 9, 10, 11, 12, 14, 15, 18, 19, 20, 21, 22, 26, 27) for w in BY_CLASS[c]]
COMMON = [w for w in NOUNS if WORDS[w][1] <= 9]
STEMS = collections.defaultdict(list)
for w in WORDS:
    if len(w) >= 6 and WORDS[w][0] == "-":
        STEMS[w[:5]].append(w)
ENDINGS = ("", "s", "er", "or", "ion", "tion", "ation", "ment", "ing", "al", "ity", "ist", "ive", "ance", "ence", "able", "ic", "y", "e")


def noun(common=0.6):
    return R.choice(COMMON if R.random() < common else NOUNS)


def plural(w):
    if w in PLURAL:
        return PLURAL[w]
    if w.endswith(("s", "x", "ch", "sh")):
        return w + "es"
    if w.endswith("y") and w[-2] not in "aeiou":
        return w[:-1] + "ies"
    return w + "s"


def det():
    return R.choices(["a", "the", "my", "your", "", "this", "his", "their", "our", "an"], [8, 8, 5, 2, 10, 2, 1, 1, 1, 0])[0]


def noun_phrase():
    """A list of (role, word)."""
    out = []
    d = det()
    if d:
        out.append(("det", d))
    for _ in range(R.choices([0, 1, 2], [6, 5, 1])[0]):
        out.append(("adj", R.choice(ADJ)))
    if R.random() < 0.2:
        out.append(("mod", noun()))
    n = noun()
    out.append(("noun", plural(n) if not d and R.random() < 0.6 else n))
    return out


def place():
    return [("prep", "in"), ("name", R.choice(PLACES))]


def tail():
    k = R.random()
    if k < 0.2:
        return place()
    if k < 0.35:
        n = R.randint(2, 40)
        return [("prep", "in"), ("num", str(n)), ("unit", R.choice(UNITS))]
    if k < 0.45:
        return [("prep", "for"), ("noun", plural(R.choice(ROLES)))]
    if k < 0.5:
        return [("prep", "on"), ("name", R.choice(TOPICS))]
    return [("prep", R.choice(PREPS))] + noun_phrase()


def verb_phrase():
    out = [("verb", R.choice(VERBS))] + noun_phrase()
    for _ in range(R.choices([0, 1, 2], [5, 5, 1])[0]):
        out += tail()
    return out


def join(parts):
    return " ".join(w for _, w in parts)


# ---------------------------------------------------------------- intents and their dress
I = ["I", "you", "we", "one"]


def who():
    return R.choices(I, [10, 5, 1, 1])[0]


def ing(v):
    if v.endswith("e") and not v.endswith("ee"):
        return v[:-1] + "ing"
    if re.fullmatch(r"[^aeiou]*[aeiou][^aeiouwxy]", v):
        return v + v[-1] + "ing"
    return v + "ing"


def gerund(parts):
    return [("verb", ing(parts[0][1]))] + parts[1:]


HOWTO = [
    lambda p: f"how do {who()} {join(p)}?", lambda p: f"how can {who()} {join(p)}?", lambda p: f"how to {join(p)}?", lambda p: f"how should {who()} {join(p)}?",
    lambda p: f"what is the {R.choice(['best', 'best', 'easiest', 'right', 'ideal', 'proper', 'most effective'])} way to {join(p)}?", lambda p: f"what are {R.choice(['the best', 'some', 'some good', 'good', 'the'])} ways to {join(p)}?",
    lambda p: f"ways to {join(p)}?", lambda p: f"how could {who()} {join(p)}?", lambda p: f"how would {who()} {join(p)}?", lambda p: f"what is the way to {join(p)}",
    lambda p: f"what should {who()} do to {join(p)}?", lambda p: f"what can {who()} do to {join(p)}?", lambda p: f"is there a way to {join(p)}?",
    lambda p: f"explain how to {join(p)}", lambda p: f"what are the steps to {join(p)}?", lambda p: f"best way to {join(p)}", lambda p: f"how does one {join(p)}?",
    lambda p: f"steps to {join(p)}", lambda p: f"how {who()} can {join(p)}?", lambda p: f"what is the best way of {join(gerund(p))}?", lambda p: f"tell me how to {join(p)}",
    lambda p: f"what is a good way to {join(p)}?", lambda p: f"show me how to {join(p)}", lambda p: f"how do {who()} go about {join(gerund(p))}?",
    lambda p: f"which is the best way to {join(p)}?", lambda p: f"what are the best methods to {join(p)}?",
]
# The commonest ones count most.
HOWTO_W = [20, 20, 8, 6, 12, 8, 3, 2, 2, 3, 3, 3, 3, 2, 3, 3, 1, 1, 2, 2, 1, 2, 1, 1, 2, 2]
WHATIS = [lambda p: f"what is {join(p)}?", lambda p: f"what is the meaning of {join(p)}?", lambda p: f"define {join(p)}", lambda p: f"what is meant by {join(p)}?", lambda p: f"what do you mean by {join(p)}?",
          lambda p: f"what does {join(p)} mean?", lambda p: f"explain {join(p)}", lambda p: f"what exactly is {join(p)}?", lambda p: f"definition of {join(p)}?", lambda p: f"what's {join(p)}?", lambda p: f"meaning of {join(p)}"]
DIFF = [lambda a, b: f"what is the difference between {a} and {b}?", lambda a, b: f"difference between {a} and {b}?", lambda a, b: f"what are the differences between {a} and {b}?",
        lambda a, b: f"compare {a} and {b}", lambda a, b: f"what is the main difference between {a} and {b}?", lambda a, b: f"explain the difference between {a} and {b}"]
BEST = [lambda p: f"what are the best {p}?", lambda p: f"which are the best {p}?", lambda p: f"what are some of the best {p}?", lambda p: f"best {p}?", lambda p: f"list the best {p}",
        lambda p: f"can you suggest the best {p}?"]
WHY = [lambda s, q: f"why {q}?", lambda s, q: f"why is it that {s}?", lambda s, q: f"what is the reason that {s}?", lambda s, q: f"why {s}?", lambda s, q: f"what is the reason why {s}?", lambda s, q: f"how come {s}?"]
LIKE = [lambda p: f"what is it like to {join(p)}?", lambda p: f"what does it feel like to {join(p)}?", lambda p: f"how does it feel to {join(p)}?", lambda p: f"what's it like to {join(p)}?"]
LISTS = [lambda p: f"what are some {p}?", lambda p: f"give me some {p}", lambda p: f"list some {p}", lambda p: f"what are the {p}?", lambda p: f"what are {p}?", lambda p: f"which are some {p}?", lambda p: f"name some {p}"]
TASKS = [lambda p: f"write {p}", lambda p: f"please write {p}", lambda p: f"can you write {p}?", lambda p: f"could you write {p}?", lambda p: f"I need you to write {p}"]
OTHER_FRAMES = [
    lambda p: f"why do people {join(p)}?", lambda p: f"when should I {join(p)}?", lambda p: f"where can I {join(p)}?", lambda p: f"should I {join(p)}?", lambda p: f"can I {join(p)}?",
    lambda p: f"is it safe to {join(p)}?", lambda p: f"what happens if I {join(p)}?", lambda p: f"how long does it take to {join(p)}?", lambda p: f"how much does it cost to {join(p)}?", lambda p: f"who can {join(p)}?",
    lambda p: f"what do you need to {join(p)}?", lambda p: f"is it hard to {join(p)}?", lambda p: f"what is the best time to {join(p)}?", lambda p: f"why should I {join(p)}?", lambda p: f"how did you {join(p)}?",
    lambda p: f"do you {join(p)}?", lambda p: f"have you ever wanted to {join(p)}?", lambda p: f"what is the point of {join(gerund(p))}?", lambda p: f"is {join(gerund(p))} worth it?", lambda p: f"how often do you {join(p)}?",
    lambda p: f"what are the benefits of {join(gerund(p))}?", lambda p: f"what are the risks of {join(gerund(p))}?", lambda p: f"what is the fastest way to {join(p)}?", lambda p: f"how is it to {join(p)}?", lambda p: f"what do you do when you {join(p)}?",
    lambda p: f"how do I know if I {join(p)}?", lambda p: f"what should I do before I {join(p)}?", lambda p: f"what should I do after I {join(p)}?", lambda p: f"will I {join(p)}?", lambda p: f"did you {join(p)}?",
    lambda p: f"how do I get someone to {join(p)}?", lambda p: f"how do I stop people who {join(p)}?", lambda p: f"who should {join(p)}?", lambda p: f"what tools do I need to {join(p)}?", lambda p: f"what is the cheapest way to {join(p)}?",
]
ABOUT = [
    lambda x: f"what is {x}?", lambda x: f"what does {x} do?", lambda x: f"how is {x} made?", lambda x: f"how does {x} work?", lambda x: f"what is {x} used for?", lambda x: f"why is {x} important?", lambda x: f"is {x} good?", lambda x: f"who invented {x}?",
    lambda x: f"where does {x} come from?", lambda x: f"what are the uses of {x}?", lambda x: f"what are the types of {x}?", lambda x: f"what are some examples of {x}?", lambda x: f"how much does {x} cost?", lambda x: f"what is the future of {x}?", lambda x: f"what is {x} like?",
    lambda x: f"what is the history of {x}?", lambda x: f"what causes {x}?", lambda x: f"what are the benefits of {x}?", lambda x: f"what are the disadvantages of {x}?", lambda x: f"what can {x} do to people?", lambda x: f"what is your favorite {x}?", lambda x: f"how do you define {x}?",
    lambda x: f"what should I know about {x}?", lambda x: f"what do you think about {x}?", lambda x: f"do you like {x}?", lambda x: f"is there any {x}?", lambda x: f"what is the best {x}?", lambda x: f"how old is {x}?", lambda x: f"what makes {x} special?", lambda x: f"can {x} be dangerous?",
    lambda x: f"what is the price of {x}?", lambda x: f"what is the symbol of {x}?", lambda x: f"what is the opposite of {x}?", lambda x: f"what is a good {x}?", lambda x: f"what is the role of {x}?", lambda x: f"what is the purpose of {x}?", lambda x: f"which {x} should I choose?", lambda x: f"which {x} do you choose?",
]


class Intent:
    """What is asked, apart from its dress."""

    def __init__(self, kind=None):
        k = kind or R.choices(["howto", "whatis", "diff", "best", "why", "like", "list", "task", "other", "about", "story"], [34, 7, 6, 9, 8, 4, 7, 5, 14, 10, 6])[0]
        self.kind = k
        self.frame = None
        if k in ("howto", "like", "other"):
            self.parts = verb_phrase()
            self.frame = R.choice(OTHER_FRAMES) if k == "other" else None
        elif k in ("whatis", "about"):
            self.parts = [p for p in noun_phrase() if p[1] not in ("my", "your", "his", "their", "our", "this")]
            self.frame = R.choice(ABOUT) if k == "about" else None
        elif k == "diff":
            self.parts = [("noun", noun()), ("conj", "and"), ("noun", noun())]
            if R.random() < 0.4:
                self.parts += place() if R.random() < 0.5 else [("prep", "for")] + [("noun", noun())]
        elif k in ("best", "list", "task"):
            self.parts = [("adj", R.choice(ADJ))] * (R.random() < 0.4) + [("mod", noun())] * (R.random() < 0.4) + [("noun", plural(noun()))] + (tail() if R.random() < 0.6 else [])
        else:
            self.parts = [("det", "the")] + [("adj", R.choice(ADJ))] * (R.random() < 0.4) + [("noun", noun()), ("aux", R.choice(["is", "was", "does", "can", "will"])), ("adj", R.choice(ADJ))] + (tail() if R.random() < 0.6 else [])
        if k == "story":
            self.before = f"I {R.choice(VERBS)} {join(noun_phrase())}" if R.random() < 0.6 else f"I am a {R.choice(ADJ)} {R.choice(ROLES)}"
            self.parts = verb_phrase()
        self.seen = [w for _, w in self.parts]

    def text(self, parts=None, plain=False, frame=None):
        p = parts or self.parts
        k = self.kind
        if k == "howto":
            return (HOWTO[0] if plain else R.choices(HOWTO, HOWTO_W)[0])(p)
        if k == "whatis":
            return (WHATIS[0] if plain else R.choice(WHATIS))(p)
        if k == "diff":
            at = next((i for i, x in enumerate(p) if x[0] == "conj"), 1)
            a, rest = join(p[:at]), p[at + 1:]
            cut = next((i for i, x in enumerate(rest) if x[0] == "prep"), len(rest))
            b = join(rest[:cut])
            if not plain and R.random() < 0.25 and at + 1 < len(p):
                a, b = b, a
            out = (DIFF[0] if plain else R.choice(DIFF))(a, b)
            return out if cut == len(rest) else out.rstrip("?") + " " + join(rest[cut:]) + ("?" if out.endswith("?") else "")
        if k == "best":
            return (BEST[0] if plain else R.choice(BEST))(join(p))
        if k == "list":
            return (LISTS[0] if plain else R.choice(LISTS))(join(p))
        if k == "task":
            what = R.choice(["a poem about", "a story about", "an essay about", "a letter about", "an email about"]) if not hasattr(self, "what") else self.what
            self.what = what
            return (TASKS[0] if plain else R.choice(TASKS))(what + " " + join(p))
        if k == "why":
            at = next(i for i, x in enumerate(p) if x[0] == "aux")
            subject, aux, rest = join(p[:at]), p[at][1], join(p[at + 1:])
            return (WHY[0] if plain else R.choice(WHY))(f"{subject} {aux} {rest}", f"{aux} {subject} {rest}")
        if k == "like":
            return (LIKE[0] if plain else R.choice(LIKE))(p)
        if k == "other":
            return (frame or self.frame)(p)
        if k == "about":
            return (frame or self.frame)(join(p))
        return f"{self.before}. {(HOWTO[0] if plain else R.choices(HOWTO, HOWTO_W)[0])(p)}"


# ---------------------------------------------------------------- changes that keep the meaning
def typo(text):
    ws = text.split()
    at = [i for i, w in enumerate(ws) if re.fullmatch(r"[a-z]{6,}", w)]
    if not at:
        return text
    i = R.choice(at)
    w = ws[i]
    j = R.randint(1, len(w) - 3)
    k = R.random()
    if k < 0.5:
        w = w[:j] + w[j + 1] + w[j] + w[j + 2:]
    elif k < 0.75:
        w = w[:j] + w[j] + w[j:]
    else:
        w = w[:j] + w[j + 1:]
    ws[i] = w
    return " ".join(ws)


def synonym(parts, weak):
    at = []
    for i, (role, w) in enumerate(parts):
        if role in ("verb", "noun", "adj", "mod"):
            if weak and w in SENSE_OF:
                at.append((i, [x for x in BY_SENSE[SENSE_OF[w]] if x != w]))
            if not weak and SAME_OF.get(w):
                at.append((i, sorted(SAME_OF[w])))
    if not at:
        return None
    i, choice = R.choice(at)
    return parts[:i] + [(parts[i][0], R.choice(choice))] + parts[i + 1:]


def number_form(text):
    def to_word(m):
        n = int(m.group(0))
        return NUMBERS[n] if n <= 20 else m.group(0)
    return re.sub(r"\b\d{1,2}\b", to_word, text)


def dress(text):
    """Case, stops, politeness, contractions, spelling: nothing that matters."""
    if R.random() < 0.3:
        for long, short in SHORT:
            if long in text.lower():
                text = re.sub(r"\b" + long + r"\b", short, text, count=1, flags=re.I)
                break
    if R.random() < 0.12:
        for us, uk in UK:
            text = re.sub(r"\b" + us + r"\b", uk, text)
    if R.random() < 0.15:
        text = number_form(text)
    if R.random() < 0.2:
        text = R.choice(POLITE_A) + " " + text
    if R.random() < 0.12:
        text = text + " " + R.choice(POLITE_Z)
    k = R.random()
    if k < 0.5:
        text = text[:1].upper() + text[1:]
    elif k < 0.6:
        text = text.lower()
    if R.random() < 0.25:
        text = text.rstrip("?. ")
    elif R.random() < 0.1:
        text = text.rstrip("?") + R.choice(["??", " ?", ".", "!", "?!"])
    return text


def keep_noise(parts):
    """Parts with the same meaning: articles, number of the noun, order of adjuncts, fillers."""
    p = list(parts)
    if R.random() < 0.3:
        at = [i for i, x in enumerate(p) if x[0] == "det" and x[1] in ("a", "an", "the")]
        if at:
            i = R.choice(at)
            p[i:i + 1] = [] if R.random() < 0.5 else [("det", R.choice(["a", "the"]))]
    if R.random() < 0.15:
        at = [i for i, x in enumerate(p) if x[0] == "noun" and not x[1].endswith("s")]
        if at:
            i = R.choice(at)
            p[i] = ("noun", plural(p[i][1]))
    if R.random() < 0.06:
        at = [i for i, x in enumerate(p) if x[0] == "verb"]
        if at:
            p.insert(at[0], ("fill", R.choice(FILLERS)))
    if R.random() < 0.05:
        at = [i for i, x in enumerate(p) if x == ("prep", "in") or x == ("prep", "on") or x == ("prep", "about")]
        if at:
            p[R.choice(at)] = ("prep", R.choice(["in", "on", "at", "for", "of"]))
    return p


def positive():
    it = Intent()
    k = R.random()
    if k < 0.3:
        # A near-repeat: one text, changed a little.
        text = it.text()
        a, b = text, dress(text)
        if R.random() < 0.25:
            b = typo(b)
        if R.random() < 0.5:
            a = dress(a)
        return a, b, "repeat"
    p = keep_noise(it.parts)
    kind = "reword"
    if k > 0.8:
        new = synonym(p, weak=False)
        if new:
            p, kind = new, "synonym"
    elif k > 0.72:
        new = synonym(p, weak=True)
        if new:
            p, kind = new, "sense"
            if R.random() < 0.3:
                return dress(it.text()), dress(it.text(p)), "sense-no"
    return dress(it.text()), dress(it.text(p)), kind


# ---------------------------------------------------------------- changes that do not
def other_word(role, w):
    cls = WORDS.get(w, ("-", 0, 0, 0, "-"))[2]
    if role == "verb":
        return R.choice(VERBS)
    if role == "adj":
        return R.choice(ADJ)
    if cls in BY_CLASS and R.random() < 0.5:
        return R.choice(BY_CLASS[cls])
    return noun()


def derived(w):
    if R.random() < 0.3 and w in VERBS:
        return ing(w)
    base = w[:-1] if w.endswith("s") else w
    out = [x for x in STEMS.get(base[:5], []) if x != base and x != w and common_stem(base, x)]
    return R.choice(out) if out else None


def common_stem(a, b):
    n = 0
    while n < min(len(a), len(b)) and a[n] == b[n]:
        n += 1
    return n >= 5 and a[n:] in ENDINGS and b[n:] in ENDINGS


def negative():
    it = Intent()
    p = list(it.parts)
    content = [i for i, x in enumerate(p) if x[0] in ("verb", "noun", "adj", "mod")]
    k = R.random()
    kind = None
    frame = None
    if k < 0.28:
        for i in R.sample(content, min(len(content), R.choices([1, 2, 3], [7, 2, 1])[0])):
            p[i] = (p[i][0], other_word(*p[i]))
        kind = "other-word"
    elif k < 0.42:
        at = [i for i, x in enumerate(p) if x[0] == "noun"]
        if at:
            i = R.choice(at)
            p.insert(i, R.choice([("adj", R.choice(ADJ)), ("mod", noun())]))
            kind = "narrower"
    elif k < 0.48:
        p += tail()
        kind = "scope"
    elif k < 0.54:
        i = R.choice(content)
        d = derived(p[i][1])
        if d:
            p[i] = (p[i][0], d)
            kind = "derived"
    elif k < 0.60:
        if len(content) > 1:
            i, j = R.sample(content, 2)
            p[i], p[j] = (p[i][0], p[j][1]), (p[j][0], p[i][1])
            kind = "swap"
    elif k < 0.66:
        at = [i for i, x in enumerate(p) if x[0] == "prep"]
        if at:
            i = R.choice(at)
            p[i] = ("prep", R.choice([x for x in PREPS + ["from", "to", "like", "than"] if x != p[i][1]]))
            if p[i][1] == it.parts[i][1]:
                return None
            if {p[i][1], it.parts[i][1]} <= {"in", "on", "at", "about", "of", "for"}:
                return None
            kind = "prep"
    elif k < 0.72:
        at = [i for i, x in enumerate(p) if x[0] == "det"]
        if at:
            i = R.choice(at)
            other = R.choice([x for x in ("my", "your", "his", "her", "this", "every", "their", "another", "no") if x != p[i][1]])
            if p[i][1] in ("a", "the", "an") and other == "this":
                return None
            p[i] = ("det", other)
            kind = "whose"
    elif k < 0.76:
        end = R.choice(["on my own", "by myself", "on you", "again", "to me", "for yourself", "in me", "and why", "like that", "if so", "about it", "of mine", "out of it", "with them", "from you", "still", "together", "for us", "you have", "that everyone should know", "you can do", "that people have", "I should do", "that someone could have", "you would do"])
        p += [("end", end)]
        kind = "ending"
    elif k < 0.785:
        i = R.choice(content)
        del p[i]
        kind = "less"
    elif k < 0.80:
        at = [i for i in range(len(p) - 1) if {p[i][0], p[i + 1][0]} & {"prep", "conj"} or p[i][1] in ("my", "your", "his", "their", "our")]
        if at:
            i = R.choice(at)
            p[i], p[i + 1] = p[i + 1], p[i]
            kind = "displaced"
    elif k < 0.93:
        kind = "other-question"
        if it.kind == "why":
            at = next(i for i, x in enumerate(p) if x[0] == "aux")
            q = p[:at] + [("aux", R.choice([x for x in ("is", "was", "does", "can", "will", "should", "must", "would") if x != p[at][1]]))] + p[at + 1:]
            return dress(it.text()), dress(it.text(q)), "mood"
        if R.random() < 0.25 and it.kind in ("howto", "like", "other") and p[0][0] == "verb":
            subject = R.choice(["people", "you", "I", "everyone", "someone", "we", "they"])
            f, g = R.sample(["what should {s} {p}?", "what can {s} {p}?", "when do {s} {p}?", "when should {s} {p}?", "do {s} {p}?", "should {s} {p}?", "would {s} {p}?", "can {s} {p}?", "where do {s} {p}?", "where should {s} {p}?",
                             "how did {s} {p}?", "how do {s} {p}?", "how can {s} {p}?", "have {s} ever {p}?", "what are {s} {p}?", "did {s} {p}?", "how many should {s} {p}?", "how many do {s} {p}?"], 2)
            keep = {"how do", "how can"}
            if " ".join(f.split()[:2]) in keep and " ".join(g.split()[:2]) in keep:
                return None
            a, b = (x.format(s=subject, p=join(p)) for x in (f, g))
        elif R.random() < 0.12 and p[0][0] == "verb":
            x, y = R.sample(["people", "you", "I", "everyone", "we", "they", "dogs", "children", "he", "she"], 2)
            f = R.choice(["why do {s} {p}?", "when should {s} {p}?", "where can {s} {p}?", "what happens when {s} {p}?", "should {s} {p}?", "will {s} {p}?", "why do {s} have to {p}?", "is it good that {s} {p}?"])
            return dress(f.format(s=x, p=join(p))), dress(f.format(s=y, p=join(p))), "subject"
        elif R.random() < 0.05:
            x = join(noun_phrase())
            s = R.choice(["I", "you", "we", "they"])
            return dress(f"why are there so many {x}?"), dress(f"why do {s} have so many {x}?"), "subject"
        elif R.random() < 0.12:
            at = [i for i, x in enumerate(p) if x[0] == "det"]
            if not at:
                return None
            q = list(p)
            q[R.choice(at)] = ("det", "this")
            return dress(it.text()), dress(it.text(q)), "this"
        elif it.kind in ("whatis", "about"):
            f, g = R.sample(ABOUT, 2)
            a, b = f(join(p)), g(join(p))
        elif it.kind in ("howto", "other", "like"):
            f, g = R.sample(OTHER_FRAMES, 2)
            a, b = (it.text() if it.kind == "howto" and R.random() < 0.7 else f(p)), g(p)
        else:
            return None
        # A few of them come to the same.
        if {"cheapest", "fastest"} & set((a + b).split()) and "best" not in a + b and R.random() < 0.7:
            return None
        return dress(a), dress(b), kind
    elif k < 0.97:
        kind = "sibling-task"
        it2 = Intent("task")
        it2.parts = p
        a = it2.text()
        it2.what = R.choice([w for w in ["a poem about", "a story about", "an essay about", "a letter about", "an email about", "a song about", "a speech about", "a review about", "a joke about"] if w != it2.what])
        return dress(a), dress(it2.text()), kind
    else:
        kind = "more"
        b = it.text(p).rstrip("?") + "? " + R.choice(OTHER_FRAMES + HOWTO)(p[:1] + noun_phrase())
        return dress(it.text()), dress(b), kind
    if kind is None or [w for _, w in p] == it.seen or it.kind == "diff" and kind == "swap":
        return None
    if R.random() < 0.35:
        # Everything else alike, also the dress.
        state = R.getstate()
        a = it.text()
        after = R.getstate()
        R.setstate(state)
        b = it.text(p)
        R.setstate(after)
        return a, b, kind
    return dress(it.text()), dress(it.text(p, frame=frame)), kind


def context(x, y):
    """Both behind (or before) the same sentences: what differs must not drown in what does not."""
    said = []
    for _ in range(R.choices([1, 2, 4, 7], [4, 4, 2, 1])[0]):
        subject = R.choice(["I", "We", "My friend", "The company", "They", "She", "My boss", "People"])
        said.append(f"{subject} {R.choice(['want to', 'have to', 'will', 'could', 'used to', 'plan to'])} {join(verb_phrase())}.")
    text = " ".join(said)
    if R.random() < 0.8:
        return f"{text} {x}", f"{text} {y}"
    return f"{x.rstrip('?.! ')}? {text}", f"{y.rstrip('?.! ')}? {text}"


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--count", type=int, default=80000)
    ap.add_argument("--seed", type=int, default=1)
    a = ap.parse_args()
    R.seed(a.seed)
    made = 0
    while made < a.count:
        got = positive() if R.random() < 0.45 else negative()
        if not got:
            continue
        x, y, kind = got
        if R.random() < 0.3:
            x, y = context(x, y)
        label = int(kind in ("repeat", "reword", "synonym", "sense"))
        if R.random() < 0.5:
            x, y = y, x
        print(json.dumps({"a": x, "b": y, "label": label, "kind": kind}, ensure_ascii=False))
        made += 1


if __name__ == "__main__":
    main()
