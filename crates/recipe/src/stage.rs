//! `[[stage]]`: stages run one after another, each an optimisation with its own schedule.
//!
//! A stage is its data, of one of six kinds, and an [`Optimisation`], whose keys the kinds share. A new kind takes a
//! variant of [`StageData`], its struct, and an arm in [`Stage::read`].

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde_json::json;

use crate::chat_rows::{ChatRows, Duration};
use crate::conversations::{Conversations, Reads, check_passages};
use crate::error::{Problem, RecipeError};
use crate::fine_tuning::{FineTuning, MID_TRAIN, SFT};
use crate::key_path::KeyPath;
use crate::keys::{add_keys, of, remove_key, with_kinds};
use crate::lora::Lora;
use crate::merging::Merging;
use crate::optimisation::{Checkpoints, Optimisation, OptimizerState, Recompute};
use crate::optimizer::tuned;
use crate::preference::Preference;
use crate::section::{Section, unknown};
use crate::source::Source;
use crate::start::Start;
use crate::training::{Loss, Phase, PreparedData, Training};
use crate::units::{ContextLength, Pairs};
use crate::validation::Validation;

/// One stage of a recipe.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(transform = add_kinds)]
pub struct Stage {
    /// Its name, and that of its folder.
    pub name: String,
    /// The weights that it starts from; by default those of `[model]`.
    #[schemars(with = "Option<Start>")]
    pub from: Start,
    /// How it is trained; `None` for a merge.
    #[serde(flatten)]
    #[schemars(skip)]
    pub optimisation: Option<Optimisation>,
    /// What it reads.
    #[serde(flatten)]
    #[schemars(skip)]
    pub data: StageData,
}

/// The kind of a stage, and its data.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum StageData {
    /// Next-token training on a mixture that changes from phase to phase.
    Pretrain(Text),
    /// The same on longer rows, with another RoPE theta.
    LongContext(LongContext),
    /// Training on conversations, by default on all of their tokens.
    MidTrain(FineTuning),
    /// Training on conversations, by default on the answers.
    Sft(FineTuning),
    /// Training on pairs of answers, of which one is preferred.
    Apo(Preference),
    /// The weighted mean of checkpoints.
    Merge(Merging),
}

/// The data of a stage on text.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Text {
    /// The mixtures, in order.
    #[serde(rename = "phase")]
    pub phases: Vec<Phase>,
    /// How token losses become one number.
    #[schemars(default)]
    pub loss: Loss,
}

/// The data of a `long-context` stage.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct LongContext {
    /// The base of the rotary frequencies from this stage on.
    pub rope_theta: f64,
    /// The text.
    #[serde(flatten)]
    pub text: Text,
}

/// Gives `[[stage]]` the keys of its kinds.
fn add_kinds(schema: &mut Schema) {
    let (common, trained) = (schema.clone().to_value(), of::<Optimisation>());
    *schema = with_kinds::<StageData>(|kind| {
        let mut trained = trained.clone();
        let without: &[&str] = match kind {
            "merge" => return common.clone(),
            "pretrain" | "long-context" => &["lora", "validation"],
            "apo" => {
                trained["properties"]["global_batch"]["title"] = of::<Pairs>()["title"].clone();
                &["micro_batch", "optimizer_state"]
            }
            _ => &[],
        };
        for key in without {
            remove_key(&mut trained, key);
        }
        if !matches!(kind, "pretrain" | "long-context") {
            for (key, value) in tuned() {
                trained["properties"]["optimizer"]["properties"][key]["default"] = json!(value);
            }
        }
        add_keys(common.clone(), &trained)
    });
}

const KINDS: [&str; 6] = ["pretrain", "long-context", "mid-train", "sft", "apo", "merge"];

impl Stage {
    /// Reads a stage; `earlier` are the names of the stages before it.
    pub(crate) fn read(
        section: &mut Section<'_>,
        earlier: &[String],
        default_start: &Start,
        sources: &BTreeMap<String, Source>,
    ) -> Result<Self, RecipeError> {
        let name: String = section.required("name", "a name for the stage, such as name = \"pretrain\"")?;
        if !is_folder_name(&name) {
            let message = "a stage's folder has its name; write letters, digits, `-`, `_` and `.`";
            return Err(section.error("name", message.to_owned()));
        }
        if earlier.contains(&name) {
            return Err(section.error(
                "name",
                format!("an earlier stage is called `{name}` too; rename one"),
            ));
        }
        let from = match section.optional::<String>("from")? {
            None => default_start.clone(),
            Some(text) => Start::parse(&text, earlier).map_err(|message| section.error("from", message))?,
        };
        let kind: String = section.required("kind", "what the stage does, such as kind = \"pretrain\"")?;
        let reads = match kind.as_str() {
            "pretrain" | "long-context" => Some(Reads::Text),
            "mid-train" | "sft" => Some(Reads::Conversations),
            "apo" => Some(Reads::Pairs),
            "merge" => None,
            other => return Err(section.error("kind", unknown("kind of stage", other, &KINDS))),
        };
        let optimisation = match reads {
            Some(reads) => Some(Optimisation::read(section, reads)?),
            None => None,
        };
        let data = match (kind.as_str(), &optimisation) {
            ("pretrain", _) => StageData::Pretrain(Text::read(section)?),
            ("long-context", _) => StageData::LongContext(LongContext {
                rope_theta: read_theta(section)?,
                text: Text::read(section)?,
            }),
            ("mid-train", _) => StageData::MidTrain(FineTuning::read(section, &MID_TRAIN)?),
            ("sft", _) => StageData::Sft(FineTuning::read(section, &SFT)?),
            (_, Some(pairs)) => StageData::Apo(Preference::read(section, earlier, pairs.sequence_length)?),
            (_, None) => StageData::Merge(Merging::read(section, earlier)?),
        };
        let mut stage = Self {
            name,
            from,
            optimisation,
            data,
        };
        stage.check(sources).map_err(|problem| section.problem(problem))?;
        if let Some(reason) = stage.needs_weights().filter(|_| stage.from == Start::Random) {
            let message =
                format!("{reason}, but the stage has no `from`; write from = \"pretrain\" or the like");
            return Err(section.error("", message));
        }
        Ok(stage)
    }

    fn check(&mut self, sources: &BTreeMap<String, Source>) -> Result<(), Problem> {
        if let Some(optimisation) = &self.optimisation {
            optimisation.check()?;
            match &mut self.data {
                StageData::Pretrain(text) | StageData::LongContext(LongContext { text, .. }) => {
                    text.check(optimisation, sources)?;
                }
                StageData::MidTrain(tuning) | StageData::Sft(tuning) => tuning.check(optimisation)?,
                StageData::Apo(pairs) => pairs.check(optimisation)?,
                StageData::Merge(_) => {}
            }
        }
        check_passages(self.rows(), sources)
    }

    /// Why it cannot start from random weights, if it cannot.
    fn needs_weights(&self) -> Option<&'static str> {
        let keeps = |own: &Optimisation| own.optimizer_state == OptimizerState::Keep;
        match &self.data {
            StageData::Pretrain(_) if self.optimisation.as_ref().is_some_and(keeps) => {
                Some("optimizer_state = \"keep\" needs a checkpoint")
            }
            StageData::Pretrain(_) => None,
            StageData::LongContext(_) => Some("a longer context is taught to a trained model"),
            StageData::MidTrain(_) | StageData::Sft(_) => Some("conversations are taught to a trained model"),
            StageData::Apo(_) => Some("preferences are taught to a trained model"),
            StageData::Merge(_) => Some("one of the models gives tokenizer and template"),
        }
    }

    /// The earlier stages whose checkpoints it reads.
    pub fn parents(&self) -> Vec<&str> {
        let others: Vec<&Start> = match &self.data {
            StageData::Apo(preference) => preference.reference_from.iter().collect(),
            StageData::Merge(merging) => merging.models.iter().map(|model| &model.checkpoint).collect(),
            _ => Vec::new(),
        };
        let all = [&self.from].into_iter().chain(others);
        all.filter_map(|start| match start {
            Start::Stage(name) => Some(name.as_str()),
            Start::Random | Start::Folder(_) | Start::Hub(_) => None,
        })
        .collect()
    }

    /// The mixtures of a stage on text; empty for others.
    pub fn phases(&self) -> &[Phase] {
        match &self.data {
            StageData::Pretrain(text) | StageData::LongContext(LongContext { text, .. }) => &text.phases,
            _ => &[],
        }
    }

    pub(crate) fn phases_mut(&mut self) -> &mut [Phase] {
        match &mut self.data {
            StageData::Pretrain(text) | StageData::LongContext(LongContext { text, .. }) => &mut text.phases,
            _ => &mut [],
        }
    }

    /// Its data, if it is on conversations.
    pub fn fine_tuning(&self) -> Option<&FineTuning> {
        match &self.data {
            StageData::MidTrain(fine_tuning) | StageData::Sft(fine_tuning) => Some(fine_tuning),
            _ => None,
        }
    }

    /// Its data, if it is on pairs of answers.
    pub fn preference(&self) -> Option<&Preference> {
        match &self.data {
            StageData::Apo(preference) => Some(preference),
            _ => None,
        }
    }

    /// Its rows of conversations or of pairs, if it has any.
    pub fn chat(&self) -> Option<&ChatRows> {
        let of_pairs = || self.preference().map(|pairs| &pairs.chat);
        self.fine_tuning().map(|tuning| &tuning.chat).or_else(of_pairs)
    }

    /// The data sets of these rows.
    pub fn rows(&self) -> &[Conversations] {
        self.chat().map_or(&[], |chat| chat.data.as_slice())
    }

    /// Whether its result is a chat model.
    pub fn is_conversational(&self) -> bool {
        !matches!(self.data, StageData::Pretrain(_) | StageData::LongContext(_))
    }

    /// How it is trained.
    ///
    /// # Errors
    /// It is a merge.
    pub fn optimisation(&self) -> Result<&Optimisation, RecipeError> {
        self.optimisation.as_ref().ok_or_else(|| {
            RecipeError::Stage(format!("stage \"{}\" trains nothing: it is a merge", self.name))
        })
    }

    /// How token losses become one number.
    pub fn loss(&self) -> Loss {
        match &self.data {
            StageData::Pretrain(text) | StageData::LongContext(LongContext { text, .. }) => text.loss,
            StageData::MidTrain(tuning) | StageData::Sft(tuning) => tuning.loss,
            StageData::Apo(_) | StageData::Merge(_) => Loss::default(),
        }
    }

    /// Its training on its prepared rows `data`, which do not matter for a stage on text.
    ///
    /// # Errors
    /// It is a merge.
    pub fn training_on(&self, data: PreparedData) -> Result<Training, RecipeError> {
        let (mut optimisation, loss) = (self.optimisation()?.clone(), self.loss());
        let Some(chat) = self.chat() else {
            return Ok(Training {
                optimisation,
                loss,
                phases: self.phases().to_vec(),
            });
        };
        if self.preference().is_some() {
            let mean = data.tokens.div_ceil(data.rows.max(1)).max(1);
            optimisation.sequence_length = ContextLength(mean);
        }
        let steps = chat.duration.steps(&optimisation, data.rows);
        Ok(Training::of_steps(&self.name, optimisation, loss, steps))
    }

    /// Says that its only step takes rows more often than `epochs` asks for, because there are too few.
    pub fn few_rows(&self, rows: u64) -> Option<String> {
        let per_step = self.optimisation().ok()?.sequences_per_step();
        let Duration::Epochs(epochs) = self.chat()?.duration else {
            return None;
        };
        // By more than half: a length is rounded to whole steps.
        let is_few = 1.5 * epochs * (rows as f64) < per_step as f64;
        is_few.then(|| {
            format!(
                "{}: a step takes {per_step} rows, and there are {rows}; epochs = {epochs} becomes {:.1}; write a smaller global_batch",
                self.name,
                per_step as f64 / rows.max(1) as f64
            )
        })
    }

    /// Its training, if it is on text.
    pub fn training(&self) -> Option<Training> {
        match self.phases() {
            [] => None,
            _ => self.training_on(PreparedData::default()).ok(),
        }
    }

    /// Its training, if that does not depend on data.
    pub fn planned(&self) -> Option<Training> {
        let of_steps = |tuning: &FineTuning| matches!(tuning.chat.duration, Duration::Until(_));
        match self.fine_tuning().is_some_and(of_steps) {
            true => self.training_on(PreparedData::default()).ok(),
            false => self.training(),
        }
    }

    /// The adapters that it trains instead of the weights.
    pub fn lora(&self) -> Option<&Lora> {
        self.optimisation.as_ref()?.lora.as_ref()
    }

    /// What it is measured on during training, if anything.
    pub fn validation(&self) -> Option<&Validation> {
        self.optimisation.as_ref()?.validation.as_ref()
    }

    /// Tokens of its rows, if it trains.
    pub fn sequence_length(&self) -> Option<ContextLength> {
        self.optimisation.as_ref().map(|own| own.sequence_length)
    }

    /// What its backward pass recomputes.
    pub fn recompute(&self) -> Recompute {
        self.optimisation
            .as_ref()
            .map(|own| own.recompute)
            .unwrap_or_default()
    }

    /// When it saves checkpoints and which it keeps, if it trains.
    pub fn checkpoints(&self) -> Option<&Checkpoints> {
        self.optimisation.as_ref().map(|own| &own.checkpoint)
    }

    /// The recipe's word for its kind.
    pub fn kind_name(&self) -> &'static str {
        match &self.data {
            StageData::Pretrain(_) => "pretrain",
            StageData::LongContext(_) => "long-context",
            StageData::MidTrain(_) => "mid-train",
            StageData::Sft(_) => "sft",
            StageData::Apo(_) => "apo",
            StageData::Merge(_) => "merge",
        }
    }
}

impl Text {
    /// Takes all that is left of a stage's table.
    fn read(stage: &mut Section<'_>) -> Result<Self, RecipeError> {
        let text = Self {
            phases: stage.or_default("phase")?,
            loss: stage.or_default("loss")?,
        };
        stage.finish()?;
        Ok(text)
    }

    fn check(
        &mut self,
        optimisation: &Optimisation,
        sources: &BTreeMap<String, Source>,
    ) -> Result<(), Problem> {
        let training = Training {
            optimisation: optimisation.clone(),
            loss: self.loss,
            phases: self.phases.clone(),
        };
        training.check()?;
        for (index, phase) in self.phases.iter_mut().enumerate() {
            let path = KeyPath::default().key("phase").index(index).key("mixture");
            phase
                .mixture
                .resolve(sources)
                .map_err(|problem| problem.under(path))?;
        }
        Ok(())
    }
}

fn read_theta(stage: &mut Section<'_>) -> Result<f64, RecipeError> {
    let theta: f64 = stage.required("rope_theta", "the new base, such as rope_theta = 1.5e6")?;
    match theta.is_finite() && theta > 0.0 {
        true => Ok(theta),
        false => {
            let message = format!("{theta} is not a base of frequencies; write a positive number");
            Err(stage.error("rope_theta", message))
        }
    }
}

fn is_folder_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(plain)
}
