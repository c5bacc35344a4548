"""The grammar of the newsroom: what a reader is like and what a headline promises, in short English sentences.

A reader's tastes are said in words that the headlines avoid: nobody "loves food", somebody "lives for baking", and the
headline is about soup. So counting shared words does not get far, and knowing what words mean does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

TOPICS = ("food", "travel", "space", "money", "politics", "sport")

READERS = (
    "Nurse", "Teacher", "Student", "Baker", "Driver", "Farmer", "Lawyer", "Grandmother", "Clerk", "Musician", "Actor",
    "Engineer", "Librarian", "Waiter", "Architect", "Gardener", "Pilot", "Painter", "Dentist", "Carpenter", "Tailor",
    "Father", "Widow", "Sailor",
)  # fmt: skip

# How strongly a reader feels about a topic, strongest first; "tired" is an interest that was overfed.
DEGREES: Mapping[str, tuple[str, ...]] = {
    "passion": ("lives for", "is mad about", "is crazy about", "is devoted to", "adores", "always reads about"),
    "interest": ("enjoys", "likes", "follows", "is fond of", "cares about", "is keen on"),
    "curiosity": ("sometimes reads about", "does not mind", "may look at", "glances at"),
    "tired": ("is tired of", "is sick of", "is bored by", "is weary of", "no longer follows", "is done with"),
}

# What a reader thinks of headlines that tease instead of telling.
TEASE: Mapping[str, tuple[str, ...]] = {
    "fan": ("loves a mystery", "clicks on every surprise", "falls for big promises", "cannot resist a secret"),
    "wary": ("hates clickbait", "wants plain facts", "distrusts big promises", "ignores loud titles"),
}

INTERESTS: Mapping[str, tuple[str, ...]] = {
    "food": ("baking", "cooking", "new recipes", "fine restaurants", "family dinners", "spices", "dining out"),
    "travel": ("vacations", "railways", "road trips", "hiking abroad", "distant islands", "tourism", "weekend trips"),
    "space": ("astronomy", "the planets", "space flight", "rockets", "the universe", "moon missions", "the stars"),
    "money": ("investing", "stock markets", "personal finance", "house prices", "banks", "budgets", "saving money"),
    "politics": ("elections", "government", "party politics", "the parliament", "political debates", "campaigns"),
    "sport": ("football", "soccer", "championships", "league games", "sports news", "team sports"),
}  # fmt: skip

# One tuple for headlines that tell, one for headlines that tease.
HEADLINES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "food": (
        ("A {warm} soup for {cold} evenings", "Fresh pasta with {herb} in an hour", "How to save a dry {cake} cake"),
        ("The secret {herb} trick that chefs keep quiet", "Guess what makes this {cake} cake so good"),
    ),
    "travel": (
        ("A walking tour through {place}", "Night trains to {place} are back", "The quiet beaches of {coast}"),
        ("The hidden village in {place} that stuns visitors", "What nobody tells tourists about {place}"),
    ),
    "space": (
        (
            "Telescope spots {find} near a dying sun",
            "Astronauts grow {crop} in orbit",
            "Probe sends photos from {giant}",
        ),
        ("What a robot saw on {planet} will shock you", "The strange signal from {giant} nobody can explain"),
    ),
    "money": (
        ("Mortgage rates {move} at all lenders", "How to start a pension at {age}", "Shares {move} as inflation cools"),
        ("This one trick could double your savings", "The shocking fee hidden in your credit card"),
    ),
    "politics": (
        ("Ministers agree on {bill} reform", "Opposition leads in the {nth} poll", "Senate votes on the {bill} bill"),
        ("The shocking remark that silenced the senator", "What the president whispered will stun voters"),
    ),
    "sport": (
        ("{team} win the cup after extra time", "{team} sign a young striker", "Late goal sends {team} to the final"),
        ("What the goalkeeper did next left fans speechless", "You will not believe how {team} won the match"),
    ),
}

SLOTS: Mapping[str, tuple[str, ...]] = {
    "warm": ("thick", "rich", "golden", "smoky"),
    "cold": ("cold", "rainy", "dark", "long"),
    "herb": ("basil", "garlic", "ginger", "mint"),
    "cake": ("lemon", "chocolate", "apple", "honey"),
    "place": ("Norway", "Scotland", "Japan", "Peru", "Iceland", "Austria", "Spain"),
    "coast": ("Portugal", "Greece", "Morocco", "Italy"),
    "find": ("water", "dust", "a comet", "ice"),
    "crop": ("salad", "beans", "roses", "tomatoes"),
    "planet": ("Mars", "Venus", "Mercury"),
    "giant": ("Jupiter", "Saturn", "Neptune"),
    "move": ("rise", "fall", "climb", "drop"),
    "nth": ("second", "third", "fourth", "fifth"),
    "age": ("thirty", "forty", "fifty"),
    "bill": ("school", "court", "energy", "border"),
    "team": ("Rovers", "United", "City", "Rangers"),
}


def reader_text(traits: Sequence[tuple[str, str]], random: np.random.Generator) -> str:
    """One sentence about a reader: "Nurse who lives for baking and is tired of elections.", say.

    Args:
        traits: Pairs `(degree, topic)` or `("fan" | "wary", "")`, in the order in which to say them.
        random: Chooses the words.
    """
    return f"{_pick(READERS, random)} who {' and '.join(_clause(degree, topic, random) for degree, topic in traits)}."


def headline_texts(topic: str, random: np.random.Generator) -> list[tuple[str, bool]]:
    """Five headlines on `topic`, each made from another template, with whether it teases: no, no, yes, no, yes.

    >>> headline_texts("travel", np.random.default_rng(0))[2]
    ('What nobody tells tourists about Norway', True)
    """
    plain, teasing = ([templates[i] for i in random.permutation(len(templates))] for templates in HEADLINES[topic])
    order = [(plain[0], False), (plain[1], False), (teasing[0], True), (plain[2], False), (teasing[1], True)]
    return [(re.sub(r"\{(\w+)\}", lambda slot: _pick(SLOTS[slot[1]], random), text), teases) for text, teases in order]


def _clause(degree: str, topic: str, random: np.random.Generator) -> str:
    if degree in TEASE:
        return _pick(TEASE[degree], random)
    return f"{_pick(DEGREES[degree], random)} {_pick(INTERESTS[topic], random)}"


def _pick(options: Sequence[str], random: np.random.Generator) -> str:
    return options[int(random.integers(len(options)))]
