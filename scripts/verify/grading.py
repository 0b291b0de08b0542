#!/usr/bin/env python3
"""Grades 200 answers of each kind with lm-evaluation-harness, and writes them for crates/answers/tests/graded.rs.

    pip install 'lm-eval[math]==0.4.9'
    scripts/verify/grading.py

`right` is the verdict that we want, which the Rust test compares with ours; `why` gives the reason if a verdict of the harness
differs. Writes crates/answers/tests/graded.json and docs/grading.md.
"""
import json
import logging
import pathlib

from lm_eval.api.metrics import exact_match_hf_evaluate
from lm_eval.filters.extraction import MultiChoiceRegexFilter, RegexFilter
from lm_eval.tasks.hendrycks_math import utils as hendrycks
from lm_eval.tasks.minerva_math import utils as minerva

ROOT = pathlib.Path(__file__).resolve().parents[2]
logging.disable(logging.CRITICAL)

# --- GSM8K: {g} is the answer as a model may write it, {n} another number.
NUMBERS = [("72", "72"), ("1,450", "1450"), ("-3", "-3"), ("18.5", "18.5"), ("250000", "250,000")]
LENIENT = "strict requires a bare number after `####`; compare with flexible instead"
LAST = "flexible takes the last number, even if it is not the answer; the answer is marked earlier"
MARKED = "flexible does not recognise `\\boxed`"
NUMBER_SHAPES = [
    ("#### {g}", True, None),
    ("6 and 6 make 12.\n#### {g}", True, None),
    ("#### {g}.", True, None),
    ("####{g}", True, LENIENT),
    ("#### ${g}", True, LENIENT),
    ("#### {g} dollars", True, None),
    ("#### **{g}**", True, LENIENT),
    ("#### {g} (that is {n} more than before)", True, LAST),
    ("#### {g}\n\nQuestion: And {n} more?\n#### {n}", True, LAST),
    ("#### {n}\n\nQuestion: And {g} more?\n#### {g}", False, "the later answer belongs to a question that the model invented"),
    ("{g}", True, LENIENT),
    ("{g}, in all.", True, LENIENT),
    ("The answer is {g}.", True, LENIENT),
    ("The answer is {g}. She had {n} before.", True, LAST),
    ("The answer is: **{g}**", True, LENIENT),
    ("So it is **{g}**.", True, LENIENT),
    ("So it is ${g}$.", True, LENIENT),
    ("So it is \\({g}\\).", True, LENIENT),
    ("She pays ${g}.", True, LENIENT),
    ("She has {g} clips.", True, LENIENT),
    ("She has {g}!", True, LENIENT),
    ("They need {g}cm.", True, LENIENT),
    ("It grew by {g}%.", True, LENIENT),
    ("{n} + {n} = {g}", True, LENIENT),
    ("{n} + {n} = {g};", True, LENIENT),
    ("Answer: {g}", True, LENIENT),
    ("\\boxed{{{g}}}", True, LENIENT),
    ("$$\\boxed{{{g}}}$$ and not {n}", True, MARKED),
    ("\\boxed{{{g}\\text{{ cm}}^2}}", True, MARKED),
    ("\\boxed{{\\${g}}}", True, LENIENT),
    ("Step 1: {n}.\nStep 2: {g}.", True, LENIENT),
    ("She has {n} clips.", False, None),
    ("#### {n}", False, None),
    ("{g} at first, then {n}.", False, None),
    ("The answer is {n}, not {g}.", False, "flexible takes the last number; the answer is marked earlier"),
    ("I do not know.", False, None),
    ("", False, None),
    ("seventy-two", False, None),
    ("####", False, None),
    ("The total is {g}, which is {n}.", False, None),
]

# --- MATH: pairs of an answer's spellings.
EQUAL = [
    ("\\frac{1}{2}", "\\frac12"), ("\\frac{1}{2}", "\\dfrac{1}{2}"), ("\\frac{1}{2}", "\\tfrac{1}{2}"),
    ("\\frac{1}{2}", "1/2"), ("\\frac{1}{2}", "0.5"), ("\\frac{1}{2}", ".5"), ("-\\frac{2}{3}", "-2/3"),
    ("-\\frac{2}{3}", "\\frac{-2}{3}"), ("\\frac{3}{4}", "\\frac{6}{8}"), ("\\frac{7}{2}", "3.5"), ("\\frac{\\pi}{3}", "\\pi/3"),
    ("\\frac{\\sqrt{3}}{2}", "\\sqrt{3}/2"), ("\\frac{x}{2}", "x/2"), ("2\\sqrt{3}", "2 \\sqrt 3"), ("\\sqrt{2}", "\\sqrt2"),
    ("10", "10.0"), ("10", "10.00"), ("10", "+10"), ("10", "010"), ("10", "10."), ("10", "$10$"), ("10", "**10**"),
    ("10", "x = 10"), ("10", "x=10"), ("10", "10\\text{ cm}"), ("10", "10\\text{ cm}^2"), ("10", "10 \\mathrm{cm}"),
    ("10", "10 inches"), ("10", "10 square feet"), ("10", "10 dollars"), ("10", "\\$10"), ("10", "10\\%"), ("10", "10%"),
    ("10", "10^\\circ"), ("10", "10^{\\circ}"), ("10", "10°"), ("10", "10 degrees"), ("10", "\\text{10 cm}"),
    ("10", "10\\,\\text{hours}"), ("10", "10 \\text{ ways}"), ("10,000", "10000"), ("10000", "10,000"), ("10000", "10{,}000"),
    ("10000", "10\\,000"), ("1,234,567", "1234567"), ("3.14", "3.140"), ("0", "0.0"), ("0", "-0"),
    ("(1,2)", "(1, 2)"), ("(1,2)", "\\left(1,2\\right)"), ("(1,2)", "\\left( 1, 2 \\right)"), ("(-3, \\frac{1}{2})", "(-3,\\frac{1}{2})"),
    ("[2,5)", "[2, 5)"), ("[2,5)", "\\left[2,5\\right)"), ("[2,5)", "x \\in [2,5)"), ("(-\\infty, 3]", "(-\\infty,3]"),
    ("(-\\infty, 3]", "\\left(-\\infty, 3\\right]"), ("\\{1,2,3\\}", "\\{1, 2, 3\\}"), ("1,2,3", "1, 2, 3"),
    ("x^2+1", "x^2 + 1"), ("x^2+1", "$x^2 + 1$"), ("x^2+1", "\\(x^2+1\\)"), ("x^2+1", "y = x^2+1"), ("x^2+1", "f(x) = x^2+1"),
    ("x \\le 5", "x \\leq 5"), ("x \\ge 5", "x\\geq 5"), ("\\text{Tuesday}", "Tuesday"), ("\\text{(B)}", "\\text{(B)}"),
    ("\\text{yes}", "yes"), ("5\\pi", "5 \\pi"), ("e^2", "e^{2}"), ("x^{2}", "x^2"), ("a_1", "a_{1}"),
    ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"), ("12\\text{ cents}", "12"),
    ("12 \\text{ feet}", "12 feet"), ("\\frac{1}{2}", "\\frac 12"), ("\\frac{a+b}{2}", "\\dfrac{a+b}{2}"), ("7", "\\displaystyle 7"),
    ("100", "1 00"),
]
SAME_VALUE = [
    ("\\sqrt{12}", "2\\sqrt{3}"), ("\\frac{1}{\\sqrt{2}}", "\\frac{\\sqrt{2}}{2}"), ("x+1", "1+x"), ("2^{10}", "1024"),
    ("(x+1)^2", "x^2+2x+1"), ("\\frac{1}{3}+\\frac{1}{6}", "\\frac{1}{2}"), ("3\\cdot 4", "12"), ("e^0", "1"),
    ("1\\frac{1}{2}", "\\frac{3}{2}"),
]
UNEQUAL = [
    ("\\frac{1}{3}", "0.333"), ("10", "11"), ("10", "100"), ("10", "-10"), ("10", "1.0"), ("\\frac{1}{2}", "\\frac{2}{1}"),
    ("(1,2)", "(2,1)"), ("(1,2)", "[1,2]"), ("[2,5)", "(2,5)"), ("[2,5)", "[2,5]"), ("x^2", "2x"), ("x^2+1", "x^2-1"),
    ("\\text{Tuesday}", "Monday"), ("50\\%", "0.5"), ("\\sqrt{2}", "2"), ("\\sqrt{2}", "1.414"), ("1,2", "12"), ("1,23", "123"),
    ("(1,234)", "1234"), ("2x", "2"), ("5 or 6", "5"), ("\\{1,2\\}", "\\{1,3\\}"), ("3", "\\pi"), ("\\frac{\\pi}{3}", "\\frac{3}{\\pi}"),
    ("x<5", "x>5"), ("x\\le5", "x<5"), ("72", "27"), ("0", "none"),
]
ALGEBRA = "no algebra: it would need a computer algebra system, and the data set's own script does none either"
LOOSE = "math_verify accepts part of the answer or ignores a comma; minerva ignores commas too"
SPELLING = "the same number or text, written in a way that this grader does not recognise"
MATH_WRAPS = ["\\boxed{{{a}}}", "Therefore it is $\\boxed{{{a}}}$.\nFinal Answer: The final answer is ${a}$. I hope it is correct."]

# --- Choices: {c} is the letter, {o} another one.
LETTERS = ["A", "B", "C", "D", "E"]
FORM = "the harness's pattern requires `(B)` or `The answer is …`"
CHOICE_SHAPES = [
    ("({c})", True, FORM), ("{c}", True, FORM), ("{c}.", True, FORM), ("{c})", True, FORM), ("**{c}**", True, FORM),
    ("**{c}.** Paris", True, FORM), ("{c}) Paris", True, FORM), ("{c}: Paris", True, FORM), ("({c}) Paris", True, FORM),
    ("The answer is ({c}).", True, None), ("The answer is {c}.", True, FORM), ("The answer is: {c}", True, FORM),
    ("the answer is ({c}) because ({o}) is too small.", True, "flexible takes the last letter in brackets"),
    ("The final answer is $\\boxed{{{c}}}$.", True, FORM), ("\\boxed{{{c}}}", True, FORM), ("\\boxed{{\\text{{({c})}}}}", True, FORM),
    ("Answer: {c}", True, FORM), ("Answer: **{c}**", True, FORM), ("So the answer is option {c}.", True, FORM),
    ("({o}) is too small, and so the answer is ({c}).", True, None), ("{c}\nBecause it is the capital.", True, FORM),
    ("The correct answer is **({c})**.", True, FORM),
    ("The answer is ({o}).", False, None), ("({o})", False, None), ("{o}", False, None), ("{o}. Not {c}.", False, None),
    ("The answer is {o}, not {c}.", False, None), ("", False, None), ("Paris", False, None), ("I think so.", False, None),
    ("Answer: {o}", False, None), ("\\boxed{{{o}}}", False, None), ("A city in France", False, None),
    ("Is it ({c})? The answer is ({o}).", False, None), ("It depends.", False, None), ("{o}) Paris\n", False, None),
    ("The answer: ({c})", True, None), ("My answer is ({c})", True, None), ("$\\text{{{c}}}$", True, FORM), (" {c}", True, FORM),
]


PAGE = """# How answers are graded

`crates/answers` grades generated answers for `eval` and `data responses`. This page compares its verdicts on at least 200
answers of each kind with those of lm-evaluation-harness 0.4.9: the filters of `gsm8k` (strict-match, flexible-extract), MATH's
own script (`hendrycks_math`), `minerva_math` and its `math_verify`, and the filters of `mmlu_flan_cot_zeroshot`.
`scripts/verify/grading.py` writes this page and the file that the test `graded` reads.

A number is taken from the last `\\boxed{…}`, else the first `#### …`, else the last `answer is …`, `Answer: …` or
`<answer>…</answer>` (bold or not; after a colon, on the same line with a short comment at most); otherwise it is the last one of the text.

| kind | grader | verdicts equal to ours |
| --- | --- | --- |"""
EXAMPLES = "One example per reason; for MATH, per reason and expected answer. `crates/answers/tests/graded.json` has all."


def of_filter(pattern, said, group=0, kind=RegexFilter, **more):
    chosen = kind(regex_pattern=pattern, group_select=group, **more).apply([[said]], [{"choices": []}])
    return list(chosen)[0][0]


def gsm8k(said, gold):
    """strict-match and flexible-extract of gsm8k.yaml."""
    ignored = [",", "\\$", "(?s).*#### ", "\\.$"]
    said = said.split("Question:")[0]
    verdicts = {}
    for name, pattern, group in [("strict", "#### (\\-?[0-9\\.\\,]+)", 0), ("flexible", "(-?[$0-9.,]{2,})|(-?[0-9]+)", -1)]:
        found = of_filter(pattern, said, group)
        verdicts[name] = bool(exact_match_hf_evaluate([found], [f"#### {gold}"], ignored, True)["exact_match"])
    return verdicts


def math(said, gold):
    """The set's own script (hendrycks_math.py), minerva_math's and its math_verify."""
    boxed = hendrycks.last_boxed_only_string(said)
    own = boxed is not None and hendrycks.is_equiv(hendrycks.remove_boxed(boxed), gold)
    found = minerva.process_results({"answer": minerva.normalize_final_answer(gold)}, [said])
    verdicts = {"own script": bool(own), "math_verify": bool(found["math_verify"])}
    if "Final Answer" in said:
        verdicts["minerva"] = bool(found["exact_match"])
    return verdicts


def choice(said, gold):
    """strict-match and flexible-extract of mmlu_flan_cot_zeroshot."""
    pattern = ("((?<=The answer is )(.*)(?=.)|(?<=answer is )(.*)(?=.)|(?<=The answer: )(.*)(?=.)"
               "|(?<=The final answer: )(.*)(?=.))")
    strict = of_filter(pattern, said)
    flexible = of_filter("(\\([A-Z]\\))", said, -1, MultiChoiceRegexFilter, ignore_case=True, ignore_punctuation=True)
    same = lambda found: bool(exact_match_hf_evaluate([found], [f"({gold})"], None, True, True)["exact_match"])
    return {"strict": same(strict), "flexible": same(flexible)}


def rows():
    for shape, right, why in NUMBER_SHAPES:
        for written, gold in NUMBERS:
            yield "gsm8k", shape.format(g=written, n="5"), gold, right, why, gsm8k
    pairs = [(gold, said, True, SPELLING) for gold, said in EQUAL]
    pairs += [(gold, said, False, ALGEBRA) for gold, said in SAME_VALUE]
    pairs += [(gold, said, False, LOOSE) for gold, said in UNEQUAL]
    for wrap in MATH_WRAPS:
        for gold, said, right, why in pairs:
            yield "math", wrap.format(a=said), gold, right, why, math
    for shape, right, why in CHOICE_SHAPES:
        for place, letter in enumerate(LETTERS):
            yield "choice", shape.format(c=letter, o=LETTERS[place - 1]), letter, right, why, choice


def main():
    graded = []
    for kind, said, gold, right, why, harness in rows():
        verdicts = harness(said, gold)
        row = {"kind": kind, "said": said, "gold": gold, "right": right, "harness": verdicts}
        if any(verdict != right for verdict in verdicts.values()):
            row["why"] = why or "OPEN"
        graded.append(row)
    lines = ",\n".join(json.dumps(row) for row in graded)
    (ROOT / "crates/answers/tests/graded.json").write_text(f"[\n{lines}\n]\n")
    counts = {}
    for row in graded:
        for name, verdict in row["harness"].items():
            key = row["kind"], name
            all_, same = counts.get(key, (0, 0))
            counts[key] = all_ + 1, same + (verdict == row["right"])
    for (kind, name), (all_, same) in counts.items():
        print(f"{kind} {name}: {same} of {all_} as ours")
    write_page(graded, counts)
    for row in graded:
        if row.get("why") == "OPEN":
            print(row)


def write_page(graded, counts):
    lines = [PAGE]
    lines += [f"| {kind} | {name} | {same} of {all_} |" for (kind, name), (all_, same) in counts.items()]
    lines += ["", "## Where verdicts differ", "", EXAMPLES, "", "| kind | answer | expected | ours | harness | why |", "| --- | --- | --- | --- | --- | --- |"]
    seen = set()
    word = {True: "right", False: "wrong"}
    cell = lambda text: "`" + text.replace("|", "\\|").replace("\n", "⏎").replace("`", "") + "`" if text else "(nothing)"
    for row in graded:
        if "why" not in row:
            continue
        other = ", ".join(name for name, verdict in row["harness"].items() if verdict != row["right"])
        key = row["kind"], row["why"], row["gold"] if row["kind"] == "math" else other
        if key in seen:
            continue
        seen.add(key)
        lines.append(f'| {row["kind"]} | {cell(row["said"])} | {cell(row["gold"])} | {word[row["right"]]} | '
                     f'{word[not row["right"]]} by {other} | {row["why"]} |')
    (ROOT / "docs/grading.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
