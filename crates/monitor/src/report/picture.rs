//! The first screen of a report: the stages in a row, what each changed, and what that says.

use std::fmt::Write;

use smollm3_page::{Chart, Line, card, escape, html_table};

use crate::findings::{findings, unbroken};
use crate::measures::{Figure, Measure, legend, measures};
use crate::pipeline::PlannedStage;
use crate::status::{duration, tokens};
use crate::{RunFiles, StageFiles};

/// Figures in a stage's card.
const FIGURES: usize = 4;

/// All of it.
pub(super) fn picture(page: &mut String, run: &RunFiles) {
    let measures = measures(&run.stages);
    page.push_str("<ol class=\"pipeline\">\n");
    for planned in stages(run) {
        stage_card(page, run, &planned, &measures);
    }
    page.push_str("</ol>\n<div class=\"overview\">\n");
    card(page, "What each stage changed", &changes(run, &measures));
    page.push_str("</div>\n");
    let sentences: String = findings(run)
        .iter()
        .map(|sentence| format!("<li>{}</li>", escape(&unbroken(sentence))))
        .collect();
    page.push_str("<div class=\"grid\">\n");
    if !sentences.is_empty() {
        let list = format!("<ul class=\"says\">{sentences}</ul>");
        card(page, "What this says", &list);
    }
    let title = "Loss by position in long texts, after each stage";
    card(page, title, &by_position(run));
    page.push_str("</div>\n");
}

/// The stages of the recipe, and any others that have started.
fn stages(run: &RunFiles) -> Vec<PlannedStage> {
    let is_planned = |stage: &&StageFiles| run.plan.iter().any(|planned| planned.name == stage.info.name);
    let others = run.stages.iter().filter(|stage| !is_planned(stage));
    let others = others.map(|stage| PlannedStage {
        name: stage.info.name.clone(),
        ..PlannedStage::default()
    });
    run.plan.iter().cloned().chain(others).collect()
}

fn stage_card(page: &mut String, run: &RunFiles, planned: &PlannedStage, measures: &[Measure]) {
    let stage = run.stage(&planned.name);
    let steps = stage
        .map(|stage| stage.info.steps)
        .or(planned.steps)
        .filter(|steps| *steps > 0);
    let of_steps = steps.map_or(String::new(), |steps| format!(" · {steps} steps"));
    let (class, state) = match stage {
        None => ("waiting", format!("waiting{of_steps}")),
        Some(stage) if stage.is_done() => ("done", format!("done{of_steps}")),
        Some(stage) => match stage.info.steps {
            0 => ("now", "under way".to_owned()),
            steps => ("now", format!("step {} of {steps}", stage.done())),
        },
    };
    // Writing to a string does not fail.
    let _ = write!(
        page,
        "<li class=\"{class}\"><div class=\"kind\">{}</div><div class=\"name\">{}</div><div class=\"state\">{state}</div>",
        escape(planned.describes()),
        escape(&planned.name)
    );
    let merges = planned.merges.iter();
    let merges = merges.map(|(name, weight)| (name.clone(), format!("× {weight}")));
    let mut figures: Vec<(String, String)> = merges.collect();
    if let Some(stage) = stage {
        if class == "now" && stage.info.steps > 0 {
            let (steps, done) = (stage.info.steps, stage.done());
            let _ = write!(page, "<progress max=\"{steps}\" value=\"{done}\"></progress>");
        }
        figures.extend(spent(stage));
        figures.extend(key_figures(stage, measures));
    }
    if !figures.is_empty() {
        page.push_str("<dl>");
        for (name, value) in figures {
            let _ = write!(page, "<dt>{}</dt><dd>{}</dd>", escape(&name), escape(&value));
        }
        page.push_str("</dl>");
    }
    page.push_str("</li>\n");
}

/// Tokens, time and the last loss of training.
fn spent(stage: &StageFiles) -> Vec<(String, String)> {
    let Some(last) = stage.steps.last() else {
        return Vec::new();
    };
    let mut figures = vec![
        ("tokens".to_owned(), tokens(last.tokens)),
        ("time".to_owned(), duration(stage.seconds())),
    ];
    let is_going_on = stage.done() < stage.info.steps;
    let left = stage.seconds_left().filter(|_| is_going_on);
    figures.extend(left.map(|left| ("time left".to_owned(), duration(left))));
    figures.push(("loss".to_owned(), format!("{:.3}", last.loss)));
    figures
}

/// The most telling figures of its checkpoint: of its answers, if it answers; else its losses.
fn key_figures(stage: &StageFiles, measures: &[Measure]) -> Vec<(String, String)> {
    let found = |measure: &Measure| measure.of(stage).map(|figure| (measure.clone(), figure));
    let found: Vec<(Measure, Figure)> = measures.iter().filter_map(found).collect();
    let answers = |measure: &Measure| matches!(measure, Measure::Sums { .. } | Measure::Pairs);
    let has_answers = found.iter().any(|(measure, _)| answers(measure));
    found
        .iter()
        .filter(|(measure, _)| !has_answers || answers(measure))
        .take(FIGURES)
        .map(|(measure, figure)| (measure.name(), measure.phrase(*figure)))
        .collect()
}

/// A row a stage: its figures, and below them the difference to the stage that it started from.
fn changes(run: &RunFiles, measures: &[Measure]) -> String {
    if measures.is_empty() {
        return String::new();
    }
    let names: Vec<String> = measures.iter().map(Measure::name).collect();
    let names = names.iter().map(String::as_str);
    let head: Vec<&str> = ["stage"].into_iter().chain(names).collect();
    let planned = |stage: &StageFiles| run.plan.iter().find(|planned| planned.name == stage.info.name);
    let parent = |stage: &StageFiles| run.stage(planned(stage)?.from.as_deref()?);
    let rows = run.stages.iter().map(|stage| {
        let parent = parent(stage);
        let name = escape(&stage.info.name);
        let name = match parent {
            Some(parent) => format!(
                "{name}<br><small class=\"soft\">from {}</small>",
                escape(&parent.info.name)
            ),
            None => name,
        };
        let cells = measures.iter().map(|measure| cell(measure, stage, parent));
        [name].into_iter().chain(cells).collect()
    });
    let mut lines = legend(measures, &run.stages);
    lines.push(
        "± is the standard error. Below each figure: its change; grey where it is within twice its standard error, as if both \
         figures were measured apart. No error is known of figures without ±."
            .to_owned(),
    );
    let lines: String = lines.iter().map(|line| format!("{}<br>", escape(line))).collect();
    format!(
        "{}<p class=\"soft\"><small>{lines}</small></p>",
        html_table(&head, rows)
    )
}

fn cell(measure: &Measure, stage: &StageFiles, parent: Option<&StageFiles>) -> String {
    let Some(figure) = measure.of(stage) else {
        return "–".to_owned();
    };
    let text = measure.cell(figure);
    let Some(before) = parent.and_then(|parent| measure.of(parent)) else {
        return format!("{text}<br><small>&nbsp;</small>");
    };
    let better = (figure.mean < before.mean) == measure.is_loss();
    let class = match before.differs(figure) {
        Some(false) => "soft",
        _ if figure.mean == before.mean => "soft",
        _ if better => "good",
        _ => "bad",
    };
    let change = measure.change(before, figure);
    format!("{text}<br><small class=\"{class}\">{change}</small>")
}

/// A line a stage, where loss was measured at several positions.
fn by_position(run: &RunFiles) -> String {
    let line = |stage: &StageFiles| {
        let parts = stage.evaluation.iter().flat_map(|found| &found.loss_by_position);
        let points = parts.map(|part| ((part.from + part.to) as f64 / 2.0, part.loss));
        let points: Vec<(f64, f64)> = points.collect();
        Line::new(
            &stage.info.name,
            if points.len() > 1 { points } else { Vec::new() },
        )
    };
    Chart::over("position", "nats/token", run.stages.iter().map(line).collect()).html()
}
