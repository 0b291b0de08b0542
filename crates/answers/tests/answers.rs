//! Answers found in texts, in one spelling, and judged.

use proptest::prelude::*;
use smollm3_answers::{extract, is_right, normalise};

#[test]
fn answers_are_found_where_they_are_marked() {
    for (text, answer, marked) in [
        ("so \\boxed{42}.", "42", true),
        ("\\boxed{1} or rather \\boxed{\\frac{1}{2}}", "\\frac{1}{2}", true),
        ("\\boxed{\\{1,2\\}} then", "\\{1,2\\}", true),
        ("\\boxed{7} and \\boxed{never closed", "7", true),
        ("$\\boxed 5$ it is", "5", true),
        ("\\fbox{x+1}", "x+1", true),
        ("6 + 1 = 7\n#### 1,234 \n\nQuestion: more\n#### 9", "1,234", true),
        (
            "Final Answer: The final answer is $2x$. I hope it is correct.",
            "$2x$",
            true,
        ),
        ("The final answer is: 12.\nBye", "12", true),
        ("She pays $3 and then $1,250.50.", "$1,250.50", false),
        ("it is -7 degrees", "-7", false),
        ("about .5", ".5", false),
        ("\\boxed{} is 3", "3", false),
    ] {
        let found = extract(text).unwrap_or_else(|| panic!("nothing in {text}"));
        assert_eq!((found.text.as_str(), found.marked), (answer, marked), "{text}");
    }
    for text in ["", "no number", "\\boxed{", "####"] {
        assert_eq!(extract(text), None, "{text}");
    }
}

#[test]
fn equal_answers_have_one_spelling() {
    let alike: [&[&str]; 14] = [
        &[
            "1234",
            "1,234",
            "$1,234",
            "\\$1,234.00",
            "1234.",
            " 1234 ",
            "+1234",
            "1{,}234",
            "01234",
            "$1{,}234$",
        ],
        &[
            "1/2",
            "\\frac12",
            "\\frac{1}{2}",
            "\\dfrac{1}{2}",
            "\\tfrac 1 2",
            "0.5",
            ".5",
            "0.50",
            "2/4",
            "-\\frac{-1}{2}",
        ],
        &["-3/4", "-\\frac{3}{4}", "\\frac{-3}{4}", "\\frac{3}{-4}", "-0.75"],
        &[
            "50",
            "50\\%",
            "50%",
            "50^\\circ",
            "50^{\\circ}",
            "50°",
            "50\\text{ cm}",
            "50 \\mathrm{cm}",
            "x=50",
            "x = 50",
        ],
        &["\\sqrt{2}", "\\sqrt2", "\\sqrt 2"],
        &["(1,2)", "\\left(1, 2\\right)", "( 1,2 )"],
        &["Tuesday", "\\text{Tuesday}", "\\text{ Tuesday }."],
        &["x^2+1", "x^2 + 1", "$x^2+1$", "\\(x^2+1\\)", "\\[x^2+1\\]"],
        &["\\frac{\\pi}{3}", "\\dfrac{\\pi}{3}"],
        &["\\frac{a}{2}", "\\frac{a}2"],
        &["0", "-0", "0.0", "0/7"],
        &["1/3", "\\frac{2}{6}"],
        &["\\leftarrow"],
        &["3/0"],
    ];
    let spellings: Vec<Vec<String>> = alike
        .iter()
        .map(|group| group.iter().map(|text| normalise(text)).collect())
        .collect();
    for (group, spelt) in alike.iter().zip(&spellings) {
        assert!(
            spelt.windows(2).all(|pair| pair[0] == pair[1]),
            "{group:?} became {spelt:?}"
        );
    }
    for (index, group) in spellings.iter().enumerate() {
        assert!(
            spellings[..index].iter().all(|other| other[0] != group[0]),
            "{group:?}"
        );
    }
    // What only looks alike.
    for (one, other) in [
        ("0.333", "1/3"),
        ("(1,234)", "1234"),
        ("1,23", "123"),
        ("x+1", "1+x"),
        ("2x", "2"),
    ] {
        assert_ne!(normalise(one), normalise(other));
    }
}

#[test]
fn answers_are_judged_by_their_end() {
    for (said, expected) in [
        ("The sum is 42.", "42"),
        ("So 6 * 7 = 42", "42"),
        ("\\boxed{42} is what 7 people get", "42"),
        ("first \\boxed{1}, then $\\boxed{\\frac{1}{2}}$.", "\\frac{1}{2}"),
        ("1,234", "1234"),
        ("1234.0", "1,234"),
        ("It is -3", "-3"),
        ("half, so \\boxed{\\frac12}", "0.5"),
        ("#### 7 ", "7"),
        ("\\boxed{PARIS}", "Paris"),
        ("75\\%", "75"),
        ("$18", "18"),
        (" Paris.\n", "paris"),
        ("yes", "Yes."),
        ("Answer: 72\n\nNote: 3 were left.", "72"),
        ("**Final Answer**: 72 out of 100", "72"),
        ("**Answer:** 72 apples (3 left)", "72"),
        ("__Answer__: -$1,072.50 of 3", "-1072.5"),
        ("<answer>\n72\n</answer>\n3", "72"),
        ("Answer: 5 boxes hold 10 each. So there are 72.", "72"),
        ("Answer: 16 eggs, 3 eaten, so 13 are sold for 72 dollars", "72"),
        ("The answer is about 72 of 3", "72"),
        ("The answer is  _72_ 3", "72"),
        ("The answer is:\n\\[\n72\n\\]\nof 3", "72"),
        ("To get the answer:\n1. Add 40.\n2. Add 32, which is 72.", "72"),
        ("Answer: 40 + 32 = 72 (of 100)", "72"),
        ("**Answer:** B, not C", "B"),
        ("<answer>B</answer> C) Paris", "B"),
    ] {
        assert!(is_right(said, expected), "{said} is {expected}");
    }
    for (said, expected) in [
        ("42 or 43", "42"),
        ("", "42"),
        ("forty-two", "42"),
        ("\\boxed{41} (42)", "42"),
        ("\\boxed{42", "41"),
        ("It is 3", "-3"),
        ("It is Paris", "paris"),
        ("1e3", "1000"),
        ("Answer: 5, not 72", "72"),
        ("The answer isn't 72 but 5", "72"),
    ] {
        assert!(!is_right(said, expected), "{said} is not {expected}");
    }
}

proptest! {
    #[test]
    fn a_spelling_is_final(text in r"[ $\\{}()\[\]0-9.,/+=a-z%^-]{0,40}") {
        let once = normalise(&text);
        prop_assert_eq!(normalise(&once), once);
    }

    #[test]
    fn any_text_has_one(text: String) {
        normalise(&text);
        extract(&text);
    }

    #[test]
    fn numbers_are_exact(whole in 0u64..10_000_000, cents in 0u64..100) {
        let mut grouped = whole.to_string();
        for at in (1..grouped.len()).rev().filter(|at| (grouped.len() - at) % 3 == 0).collect::<Vec<_>>() {
            grouped.insert(at, ',');
        }
        let fraction = format!("\\frac{{{}}}{{100}}", whole * 100 + cents);
        prop_assert_eq!(normalise(&format!("${grouped}.{cents:02}")), normalise(&fraction));
        prop_assert_ne!(normalise(&fraction), normalise(&format!("\\frac{{{}}}{{100}}", whole * 100 + cents + 1)));
    }

    #[test]
    fn what_is_boxed_is_found(inside in r"[0-9a-z][0-9a-z ]{0,4}(\{[0-9a-z ]{0,5}\}){0,2}", around in "[a-z $.]{0,20}") {
        let found = extract(&format!("{around}\\boxed{{{inside}}}{around}")).unwrap();
        prop_assert_eq!(found.text.trim(), inside.trim());
    }

    #[test]
    fn a_right_number_is_right_however_it_is_written(number in -99_999i64..99_999, before in "[a-z =+]{0,10}") {
        let digits = number.to_string();
        let said = format!("{before} {digits}.");
        prop_assert!(is_right(&said, &digits));
        let boxed = format!("{before} \\boxed{{{digits}}} 7");
        prop_assert!(is_right(&boxed, &digits));
        prop_assert!(!is_right(&said, &(number + 1).to_string()));
    }
}
