//! Items as text: written-out answers or letters, with examples before them.

use super::{ChoiceTask, Form, Item};
use crate::{EvalError, Result};

/// How items become text.
#[derive(Debug, Clone)]
pub struct Prompts {
    /// The set.
    pub task: ChoiceTask,
    /// The form.
    pub form: Form,
    /// Examples before each item.
    pub shots: usize,
    /// Items from which examples are taken in order.
    pub examples: Vec<Item>,
}

/// A choice as text: context and scored continuation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The context.
    pub context: String,
    /// The scored text, with the space before it.
    pub continuation: String,
}

impl Prompts {
    /// The questions of an item, one a choice. Examples are the first of the item's subject, the item itself never among
    /// them.
    ///
    /// # Errors
    /// There are too few examples, or more choices than letters.
    pub fn questions(&self, item: &Item) -> Result<Vec<Question>> {
        let mut before = self.task.introduction(self.form, item.subject.as_deref());
        let of_subject = |example: &&Item| {
            example.subject == item.subject && !(example.stem == item.stem && example.choices == item.choices)
        };
        let examples: Vec<&Item> = self.examples.iter().filter(of_subject).take(self.shots).collect();
        if examples.len() < self.shots {
            return Err(EvalError::Shots {
                asked: self.shots,
                of: item
                    .subject
                    .as_ref()
                    .map_or_else(String::new, |subject| format!(" on {subject}")),
                found: examples.len(),
            });
        }
        for example in examples {
            let solved = self.question(example, example.gold)?;
            before.push_str(&format!("{}{}\n\n", solved.context, solved.continuation));
        }
        (0..item.choices.len())
            .map(|choice| {
                let question = self.question(item, choice)?;
                Ok(Question {
                    context: format!("{before}{}", question.context),
                    ..question
                })
            })
            .collect()
    }

    fn question(&self, item: &Item, choice: usize) -> Result<Question> {
        let text = item.choices.get(choice).map_or("", String::as_str);
        match (self.form, &item.rest) {
            (Form::Cloze, None) => Ok(Question {
                context: item.cloze.clone(),
                continuation: format!(" {text}"),
            }),
            (Form::Cloze, Some(rest)) => Ok(Question {
                context: format!("{}{text}", item.cloze),
                continuation: format!(" {rest}"),
            }),
            (Form::Lettered, _) => {
                let mut context = format!("{}\n", item.stem);
                let mut letters = 'A'..='Z';
                let mut chosen = None;
                for (index, text) in item.choices.iter().enumerate() {
                    let letter = letters.next().ok_or_else(|| EvalError::Row {
                        place: item.place.clone(),
                        problem: "there are more choices than letters; write --form cloze".to_owned(),
                    })?;
                    context.push_str(&format!("{letter}. {text}\n"));
                    if index == choice {
                        chosen = Some(letter);
                    }
                }
                Ok(Question {
                    context: context + "Answer:",
                    continuation: chosen.map_or_else(String::new, |letter| format!(" {letter}")),
                })
            }
        }
    }
}
