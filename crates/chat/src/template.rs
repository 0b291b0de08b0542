//! Chat templates: parsed once, rendered for every row.
//!
//! A template is a Jinja program. It must render the same text as in transformers, since a model may be trained with one and
//! served with the other. The date is an argument, never the clock: otherwise a corpus tokenised over midnight, or again
//! next month, would differ.

use std::collections::BTreeSet;
use std::path::Path;

use minijinja::Environment;
use minijinja::value::Value as Jinja;
use serde_json::{Map, Value};
use smollm3_corpus::Tokenizer;

pub use crate::built_in::{BUILTIN, MARKED};
use crate::checkpoint;
use crate::continuation::{cut_off, leave_open};
use crate::conversation::Conversation;
use crate::environment::{Raised, environment, mark_with, strftime_now};
use crate::error::{ChatError, Result};
use crate::generation::{Markers, private_characters, private_characters_of, rewrite};
use crate::message::{is_unlearned, role};
use crate::quoting::{quoted, spelled_token, unquoted};
use crate::rendered::{Render, Rendered};

/// Name, inside a [`Template`], of the program for conversations with tools.
const TOOL_USE: &str = "tool_use";
/// Name of the program for all others.
const DEFAULT: &str = "default";

/// A parsed chat template.
#[derive(Debug, Clone)]
pub struct Template {
    name: String,
    source: String,
    environment: Environment<'static>,
    has_tool_use: bool,
    marks_assistant: bool,
    /// Whether it supports the calls of messages, and the developer's role.
    pub(crate) knows_calls: bool,
    pub(crate) knows_developer: bool,
    markers: Markers,
    /// Private-use characters in its source.
    used: BTreeSet<char>,
    /// `bos_token` and the like, which transformers passes to every template of a checkpoint.
    special_tokens: Map<String, Value>,
}

impl Template {
    /// Parses a template; `name` is used in messages.
    ///
    /// # Errors
    /// [`ChatError::Syntax`], with the line and the column.
    pub fn parse(name: &str, source: &str) -> Result<Self> {
        Template::parse_both(name, source, None)
    }

    /// Parses a template, and the one to use for conversations with a list of tools.
    pub(crate) fn parse_both(name: &str, source: &str, tool_use: Option<&str>) -> Result<Self> {
        let mut used = BTreeSet::new();
        for source in [Some(source), tool_use].into_iter().flatten() {
            private_characters(source, &mut used);
        }
        let markers = markers_avoiding(&used)?;
        let mut environment = environment(markers);
        let mut blocks = add(&mut environment, name, DEFAULT, source)?;
        if let Some(source) = tool_use {
            blocks += add(&mut environment, name, TOOL_USE, source)?;
        }
        let knows =
            |word: &str| source.contains(word) || tool_use.is_some_and(|source| source.contains(word));
        Ok(Template {
            name: name.to_owned(),
            source: source.to_owned(),
            environment,
            has_tool_use: tool_use.is_some(),
            marks_assistant: blocks > 0,
            knows_calls: knows("tool_calls"),
            knows_developer: knows("developer"),
            markers,
            used,
            special_tokens: Map::new(),
        })
    }

    /// The template of a checkpoint, with its special tokens: `chat_template.jinja`, else `chat_template` in
    /// `tokenizer_config.json` (a string, or a list of which `default` and `tool_use` are used). `None` if the folder has
    /// neither.
    ///
    /// # Errors
    /// A file that cannot be read, or a template that does not parse.
    pub fn of_checkpoint(folder: &Path) -> Result<Option<Self>> {
        let Some(found) = checkpoint::read(folder)? else {
            return Ok(None);
        };
        let mut template = Template::parse_both(&found.name, &found.default, found.tool_use.as_deref())?;
        template.special_tokens = found.special_tokens;
        Ok(Some(template))
    }

    /// A built-in template by its name, one of [`BUILTIN`].
    pub fn builtin(name: &str) -> Option<Self> {
        let source = match name {
            "smollm3" => include_str!("templates/smollm3.jinja"),
            "chatml" => include_str!("templates/chatml.jinja"),
            "chatml-masked" => include_str!("templates/chatml-masked.jinja"),
            _ => return None,
        };
        Template::parse(name, source).ok()
    }

    /// The template of SmolLM3's supervised fine-tuning: a system text with the date and the mode of
    /// reasoning, tools, and the assistant's turns marked.
    pub fn smollm3() -> Self {
        Template::builtin("smollm3").expect("the built-in template parses")
    }

    /// The template of SmolLM3's mid-training: plain ChatML, without marks.
    pub fn chatml() -> Self {
        Template::builtin("chatml").expect("the built-in template parses")
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its source; of two, the one for conversations without tools.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it has `{% generation %}` blocks, which a loss on the assistant's tokens alone needs.
    pub fn marks_assistant(&self) -> bool {
        self.marks_assistant
    }

    /// Renders a conversation for training or inference: a developer's message and calls are rewritten into a form that this
    /// template supports, and special tokens spelt in the content are distinguished from those that the template writes.
    ///
    /// # Errors
    /// As [`Template::render`].
    pub fn render_for(
        &self,
        tokenizer: &Tokenizer,
        conversation: &Conversation,
        options: &Render,
    ) -> Result<Rendered> {
        let fitted = self.fitted(conversation);
        if spelled_token(tokenizer, &fitted).is_none() {
            return self.render(&fitted, options);
        }
        self.with_markers(&fitted, |environment, markers| {
            let quoted = quoted(tokenizer, &fitted, markers.quote);
            let rendered = self.render_with(environment, markers, &quoted, options)?;
            Ok(unquoted(tokenizer, rendered, markers.quote))
        })
    }

    /// Renders a conversation as transformers does, unchecked ([`Conversation::validate`] checks it).
    ///
    /// # Errors
    /// [`ChatError::Raised`] if the template refuses the conversation, [`ChatError::Render`] if it fails on it,
    /// [`ChatError::Row`] if the last message cannot be continued.
    pub fn render(&self, conversation: &Conversation, options: &Render) -> Result<Rendered> {
        self.with_markers(conversation, |environment, markers| {
            self.render_with(environment, markers, conversation, options)
        })
    }

    /// Calls `render` with markers that do not occur in a conversation, and an environment that uses them.
    fn with_markers(
        &self,
        conversation: &Conversation,
        render: impl FnOnce(&Environment<'static>, Markers) -> Result<Rendered>,
    ) -> Result<Rendered> {
        let mut used = BTreeSet::new();
        let messages = conversation.messages.iter();
        for value in messages.chain(conversation.tools.iter().flatten()) {
            private_characters_of(value, &mut used);
        }
        for (key, value) in conversation.template_kwargs.iter().chain(&self.special_tokens) {
            private_characters(key, &mut used);
            private_characters_of(value, &mut used);
        }
        if !self.markers.clash(&used) {
            return render(&self.environment, self.markers);
        }
        used.extend(&self.used);
        let markers = markers_avoiding(&used)?;
        let mut environment = self.environment.clone();
        mark_with(&mut environment, markers);
        render(&environment, markers)
    }

    fn render_with(
        &self,
        environment: &Environment<'static>,
        markers: Markers,
        conversation: &Conversation,
        options: &Render,
    ) -> Result<Rendered> {
        let mut messages = conversation.messages.clone();
        let mut last_words = None;
        if options.continue_final_message {
            if options.add_generation_prompt {
                return Err(ChatError::row(
                    "cannot both be continued and get a generation prompt; choose one",
                ));
            }
            last_words = Some(leave_open(&mut messages, markers.cut)?);
        }

        let mut variables: Vec<(&str, Jinja)> = Vec::new();
        for (key, value) in self.special_tokens.iter().chain(&conversation.template_kwargs) {
            variables.push((key, jinja(value)));
        }
        let mut set = |name: &'static str, value: Jinja| variables.push((name, value));
        set("messages", messages.iter().map(jinja).collect());
        let tools = conversation.tools.as_ref();
        set(
            "tools",
            tools.map_or_else(|| Jinja::from(()), |tools| tools.iter().map(jinja).collect()),
        );
        if !conversation.template_kwargs.contains_key("documents") {
            set("documents", Jinja::from(()));
        }
        set(
            "add_generation_prompt",
            Jinja::from(options.add_generation_prompt),
        );
        set("strftime_now", strftime_now(options.date));

        let program = match self.has_tool_use && conversation.tools.is_some() {
            true => TOOL_USE,
            false => DEFAULT,
        };
        let marked = environment
            .get_template(program)
            .and_then(|template| template.render(Jinja::from_pairs(variables)))
            .map_err(|error| self.failure(&error))?;
        let (text, assistant) = markers.take_out(&marked).ok_or_else(|| ChatError::Render {
            template: self.name.clone(),
            line: 0,
            problem: "the text of a `generation` block was cut up after the block; print it as it is".into(),
        })?;
        let mut rendered = Rendered {
            text,
            assistant,
            learned: learned_answers(&conversation.messages),
            special: None,
        };
        if let Some(last_words) = last_words {
            cut_off(&mut rendered, markers.cut, &last_words)?;
        }
        Ok(rendered)
    }

    fn failure(&self, error: &minijinja::Error) -> ChatError {
        let template = self.name.clone();
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        let mut innermost = error;
        while let Some(current) = cause {
            if let Some(Raised(message)) = current.downcast_ref() {
                let message = message.clone();
                return ChatError::Raised { template, message };
            }
            innermost = current.downcast_ref().unwrap_or(innermost);
            cause = current.source();
        }
        ChatError::Render {
            template,
            line: innermost.line().or(error.line()).unwrap_or(0),
            problem: problem(innermost),
        }
    }
}

/// Which answers are learned; empty if all are.
fn learned_answers(messages: &[Value]) -> Vec<bool> {
    let answers = messages.iter().filter(|message| role(message) == "assistant");
    match messages.iter().any(is_unlearned) {
        true => answers.map(|answer| !is_unlearned(answer)).collect(),
        false => Vec::new(),
    }
}

/// Adds a program to an environment; returns the number of its generation blocks.
fn add(environment: &mut Environment<'static>, template: &str, program: &str, source: &str) -> Result<usize> {
    // Jinja2 reads every kind of line end as "\n".
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let syntax = |source: &str, at: usize, problem: String| {
        let before = source.get(..at).unwrap_or(source);
        ChatError::Syntax {
            template: template.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.rsplit('\n').next().unwrap_or(before).chars().count() + 1,
            problem,
        }
    };
    let (rewritten, blocks) = rewrite(&source).map_err(|error| syntax(&source, error.at, error.problem))?;
    match environment.add_template_owned(program.to_owned(), rewritten.clone()) {
        Ok(()) => Ok(blocks),
        Err(error) => {
            let line_start = || {
                let lines = rewritten
                    .split_inclusive('\n')
                    .take(error.line().unwrap_or(1).saturating_sub(1));
                lines.map(str::len).sum()
            };
            let at = error.range().map_or_else(line_start, |range| range.start);
            Err(syntax(&rewritten, at, problem(&error)))
        }
    }
}

fn problem(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

fn markers_avoiding(used: &BTreeSet<char>) -> Result<Markers> {
    Markers::avoiding(used)
        .ok_or_else(|| ChatError::row("uses every private-use character of Unicode; remove some of them"))
}

/// A JSON value as a template sees it, with the order of keys.
pub(crate) fn jinja(value: &Value) -> Jinja {
    match value {
        Value::Null => Jinja::from(()),
        Value::Bool(truth) => Jinja::from(*truth),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(integer), _, _) => Jinja::from(integer),
            (_, Some(integer), _) => Jinja::from(integer),
            (_, _, float) => Jinja::from(float.unwrap_or(f64::NAN)),
        },
        Value::String(text) => Jinja::from(text.as_str()),
        Value::Array(items) => items.iter().map(jinja).collect(),
        Value::Object(entries) => Jinja::from_pairs(entries.iter().map(|(key, value)| (key, jinja(value)))),
    }
}
