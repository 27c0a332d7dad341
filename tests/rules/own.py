"""A rule of the user's that does what S&P does, and ways to get one wrong."""

SP = '''\
from dataclasses import dataclass
from dashtheory.rules import InPlace, shrink_and_perturb_

@dataclass(frozen=True, kw_only=True)
class Mine(InPlace):
    """Shrink and perturb, by another name."""
    shrink: float = 0.3
    perturb: float = 0.01

    def change_(self, model, context):
        shrink_and_perturb_(model, shrink=self.shrink, perturb=self.perturb, generator=context.generator)
'''
HEAD = "from dataclasses import dataclass\nfrom dashtheory.rules import InPlace, Rule\n"
FROZEN = "@dataclass(frozen=True, kw_only=True)\n"
CHANGE = "    def change_(self, model, context): return None\n"
DOCUMENTED = f'{FROZEN}class Mine(InPlace):\n    """It does nothing."""\n    a: int = 1\n{CHANGE}'
RULE = r"rule '.*mine.py:Mine' must"
OF = r"rule must name a rule \(a subclass of dashtheory.rules.Rule\) of '.*mine.py', got"

WRONG = {
    "another name": (DOCUMENTED.replace("Mine", "Yours"), "", rf"{OF} 'Mine'\. There: Yours\."),
    "a function": ("def Mine(model): ...\n", "", rf"{OF} 'Mine', which is a function\. There: none\."),
    "a value": ("Mine = 3\n", "", rf"{OF} 'Mine', which is of type int\."),
    "another class": ("class Mine: ...\n", "", rf"{OF} 'Mine', which is a class\."),
    "the base class": ("Mine = Rule\n", "", rf"{OF} 'Mine', which is a class\."),
    "no dataclass": (
        DOCUMENTED.replace(FROZEN, ""),
        "",
        rf"{RULE} be a frozen dataclass of .* got a class",
    ),
    "not frozen": (
        '@dataclass\nclass Mine(Rule):\n    """It."""\n    def apply(self, learner, context): return learner\n',
        "",
        rf"{RULE} be a frozen dataclass of its options, got one that is not frozen\. Put @dataclass",
    ),
    "nothing done": (
        DOCUMENTED.replace(CHANGE, ""),
        "",
        rf"{RULE} do what a rule does, got a class without change_",
    ),
    "no docstring": (
        DOCUMENTED.replace('"""It does nothing."""', "pass"),
        "",
        rf"{RULE} have a docstring, got none\.",
    ),
    "an option of training": (
        DOCUMENTED.replace("a: int", "weight_decay: int"),
        "",
        rf"{RULE} have options of its own, got weight_decay\.",
    ),
    "no such option": (
        DOCUMENTED,
        ":b=2",
        r"options of rule .* must be among \['a', 'optimizer'\], got 'b'\.",
    ),
    "a value refused": (
        DOCUMENTED + "    def __post_init__(self):\n        raise TypeError('a must\\n be even')\n",
        ":a=3",
        rf"{RULE} take its options, got mine.py, line 9: TypeError: a must be even\. They are: optimizer, a\.",
    ),
    "an option left out": (
        DOCUMENTED.replace("a: int = 1", "a: int"),
        "",
        rf"{RULE} take its options, got TypeError: .*'a'\. They are: optimizer, a\.",
    ),
    "an error": ("\nno_such_name\n", "", r"rule must name code .* \(mine.py, line 4: NameError: .*no_such_name"),
}
"""By what is wrong: source, options, the one line that says so."""
