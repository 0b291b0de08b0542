//! What a run's figures say about the recipe, in three sentences at most: only what was measured.

use std::collections::BTreeSet;

use smollm3_records::HeldOutRecord;

use crate::measures::{Figure, Measure, measures};
use crate::{RunFiles, StageFiles};

/// Loss of the conversations that are kept out of training: no category of text.
const CONVERSATIONS: &str = "conversations";

/// A sentence on each of these that was measured: the phases of pretraining; thinking; preference training and the merge.
pub fn findings(run: &RunFiles) -> Vec<String> {
    let sentences = [mixtures(run), thinking(run), preferences(run)];
    sentences.into_iter().flatten().collect()
}

/// A space at which no line is broken.
pub(crate) const NO_BREAK: char = '\u{a0}';

/// A sentence in which figures stay with their errors and units when it is broken into lines.
pub(crate) fn unbroken(sentence: &str) -> String {
    let kept = |mark: &str| mark.replace(' ', &NO_BREAK.to_string());
    [" ± ", " %"]
        .iter()
        .fold(sentence.to_owned(), |text, mark| text.replace(mark, &kept(mark)))
}

/// `a, b and c`.
fn list(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// Which loss fell most over the phases of the first stage that has several.
fn mixtures(run: &RunFiles) -> Option<String> {
    let after_phases = |stage: &StageFiles| -> Vec<HeldOutRecord> {
        let records = stage.held_out.iter();
        // Before the first step nothing has been learned yet.
        let learned = records.filter(|record| record.step > 0 && record.category != CONVERSATIONS);
        learned.cloned().collect()
    };
    let mut stages = run.stages.iter().map(|stage| (stage, after_phases(stage)));
    let has_several = |records: &[HeldOutRecord]| records.iter().any(|record| record.step != records[0].step);
    let (stage, records) = stages.find(|(_, records)| has_several(records))?;
    let (first, last) = (records.first()?, records.last()?);
    let at = |step: u64, category: &str| {
        let mut records = records.iter();
        let found = records.find(|record| record.step == step && record.category == category)?;
        Some(found.nats_per_token).filter(|loss| loss.is_finite())
    };
    let categories: BTreeSet<&str> = records.iter().map(|record| record.category.as_str()).collect();
    let mut falls: Vec<(&str, f64, f64)> = categories
        .into_iter()
        .filter_map(|category| Some((category, at(first.step, category)?, at(last.step, category)?)))
        .collect();
    falls.sort_by(|a, b| (b.1 - b.2).total_cmp(&(a.1 - a.2)));
    let (&(category, begin, end), others) = falls.split_first()?;
    let shares = share(stage, &first.phase, category).zip(share(stage, &last.phase, category));
    let shares = shares.map_or(String::new(), |(before, after)| {
        let (before, after) = (100.0 * before, 100.0 * after);
        format!(", while its share of the data went from {before:.0} to {after:.0} %")
    });
    let others = others
        .iter()
        .map(|(category, begin, end)| format!("{category} went from {begin:.2} to {end:.2}"));
    let others = match list(&others.collect::<Vec<_>>()) {
        none if none.is_empty() => none,
        others => format!("; {others}"),
    };
    let phases = format!("From the end of {} to the end of {}", first.phase, last.phase);
    let loss = "the loss on text kept out of training fell";
    let change = format!("from {begin:.2} to {end:.2} nats a token{shares}{others}");
    Some(match begin > end {
        true => format!("{phases}, {category} improved most: {loss} {change}."),
        false => format!("{phases}, {loss} in no category: {category} went {change}."),
    })
}

/// The part of a phase's sequences that a category is to give.
fn share(stage: &StageFiles, phase: &str, category: &str) -> Option<f64> {
    let phase = stage.info.phases.iter().find(|found| found.name == phase)?;
    let total: f64 = phase.shares.values().sum();
    let of_category = |name: &String| {
        let mut sources = stage.info.sources.iter();
        sources.any(|source| source.name == *name && source.category == category)
    };
    let parts = phase.shares.iter().filter(|(name, _)| of_category(name));
    let part: f64 = parts.map(|(_, share)| share).sum();
    (total > 0.0 && part > 0.0).then(|| part / total)
}

/// `note` of a difference that is within twice its standard error.
fn unless_clear(differs: Option<bool>, note: &str) -> &str {
    match differs {
        Some(false) => note,
        Some(true) | None => "",
    }
}

/// What thinking is worth, after the stage that answers most sums right.
fn thinking(run: &RunFiles) -> Option<String> {
    let sums = |stage: &StageFiles, think: bool| Measure::Sums { think }.of(stage);
    let both = |stage| Some((stage, sums(stage, true)?, sums(stage, false)?));
    let (stage, with, without): (&StageFiles, Figure, Figure) = run
        .stages
        .iter()
        .filter_map(both)
        .max_by(|a, b| a.1.mean.max(a.2.mean).total_cmp(&b.1.mean.max(b.2.mean)))?;
    let measure = Measure::Sums { think: true };
    let items = stage.evaluation.as_ref()?.exact_match.first()?.items;
    let note = unless_clear(with.differs(without), ": no clear difference");
    let (name, [with, without]) = (
        &stage.info.name,
        [with, without].map(|figure| measure.phrase(figure)),
    );
    Some(format!(
        "Asked to think first (/think), the model after {name} gets {with} of {items} sums right; asked to answer at once \
         (/no_think), {without}{note}."
    ))
}

/// What preference training changed, and what is left of it after the merge.
fn preferences(run: &RunFiles) -> Option<String> {
    let of_kind = |kind: &'static str| run.plan.iter().filter(move |stage| stage.kind == kind);
    let apo = of_kind("apo").next()?;
    let (before, after) = (run.stage(apo.from.as_deref()?)?, run.stage(&apo.name)?);
    let merged = of_kind("merge").find(|stage| stage.from.as_ref() == Some(&apo.name));
    let merged = merged.and_then(|stage| run.stage(&stage.name));
    let changes: Vec<(Measure, Figure, Figure)> = measures(&run.stages)
        .into_iter()
        .filter(|measure| {
            let told = [Measure::Pairs, Measure::Sums { think: true }];
            told.contains(measure) || matches!(measure, Measure::Late { .. })
        })
        .rev()
        .filter_map(|measure| {
            let (before, after) = (measure.of(before)?, measure.of(after)?);
            Some((measure, before, after))
        })
        .collect();
    let part = |(measure, before, after): &(Measure, Figure, Figure)| {
        let note = unless_clear(before.differs(*after), " (no clear change)");
        let (before, after) = (measure.phrase(*before), measure.phrase(*after));
        format!("{} from {before} to {after}{note}", what(measure))
    };
    let parts: Vec<String> = changes.iter().map(part).collect();
    if parts.is_empty() {
        return None;
    }
    let rest = merged.map_or(String::new(), |merged| {
        after_merge(&changes, merged) + &taken_back(&changes, merged)
    });
    let parts = list(&parts);
    Some(format!("Preference training ({}) took {parts}{rest}.", apo.name))
}

fn what(measure: &Measure) -> &'static str {
    match measure {
        Measure::Pairs => "preferred answers judged likelier than the others",
        Measure::Sums { .. } => "sums right with /think",
        _ => "the loss late in long texts",
    }
}

/// What the merge leaves of the changes, as far as it was measured.
fn after_merge(changes: &[(Measure, Figure, Figure)], merged: &StageFiles) -> String {
    let found = |(measure, ..): &(Measure, Figure, Figure)| {
        Some((what(measure), measure.phrase(measure.of(merged)?)))
    };
    let left: Vec<(&str, String)> = changes.iter().filter_map(found).collect();
    let figures: Vec<String> = left.iter().map(|(_, figure)| figure.clone()).collect();
    let figures = list(&figures);
    let names: Vec<String> = left.iter().map(|(name, _)| (*name).to_owned()).collect();
    match left.len() {
        0 => "; the merge was not measured".to_owned(),
        1 if changes.len() == 1 => format!("; after the merge it is {figures}"),
        count if count == changes.len() => format!("; after the merge they are {figures}"),
        _ => format!("; after the merge only {} was measured: {figures}", list(&names)),
    }
}

/// How much of a loss that clearly rose the merge takes back.
fn taken_back(changes: &[(Measure, Figure, Figure)], merged: &StageFiles) -> String {
    let Some((late, before, after)) = changes.iter().find(|(measure, ..)| measure.is_loss()) else {
        return String::new();
    };
    let rise = after.mean - before.mean;
    match late.of(merged) {
        Some(left) if rise > 0.0 && before.differs(*after) == Some(true) && left.mean < after.mean => {
            let part = (100.0 * (after.mean - left.mean) / rise).min(100.0);
            format!(" ({part:.0} % of the rise in loss taken back)")
        }
        _ => String::new(),
    }
}
