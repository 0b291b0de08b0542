//! The crate's error: each variant names what is wrong, where, and what to write instead.
//!
//! Errors in a row of data are distinguished from errors in a template, because different people fix them.

use std::path::{Path, PathBuf};

use smollm3_corpus::CorpusError;
use smollm3_files::FilesError;

/// Content of a conversation that the template does not write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Its kind, such as "a system message", "tool calls" or "reasoning".
    pub kind: &'static str,
    /// The index of its message, if it belongs to one.
    pub message: Option<usize>,
    /// Where it stands, such as `messages[0].content`.
    pub key: String,
    /// Its beginning.
    pub text: String,
}

/// A special token in the content of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpelledToken {
    /// Where it stands, such as `messages[0].content`.
    pub key: String,
    /// Its text.
    pub token: String,
}

/// Why a conversation cannot become tokens.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChatError {
    /// A row that holds no conversation.
    #[error("the row {problem}")]
    Row {
        /// What is missing or of the wrong type, and what to write.
        problem: String,
    },

    /// A conversation without messages.
    #[error("the conversation has no messages; drop the row or give it at least one")]
    NoMessages,

    /// A role that no template knows.
    #[error("message {index} has the role `{role}`; write one of {}", crate::message::ROLES.join(", "))]
    UnknownRole {
        /// Position in the conversation, from 0.
        index: usize,
        /// The role found.
        role: String,
    },

    /// A message that is not an object with a role and a content.
    #[error("message {index} {problem}")]
    Message {
        /// Position in the conversation, from 0.
        index: usize,
        /// What is wrong and what to write.
        problem: String,
    },

    /// A tool without a JSON schema.
    #[error("tool {index} {problem}")]
    Tool {
        /// Position in the list of tools, from 0.
        index: usize,
        /// What is wrong and what to write.
        problem: String,
    },

    /// A file that cannot be read.
    #[error(transparent)]
    Files(#[from] FilesError),

    /// A checkpoint whose chat template cannot be read.
    #[error("`{}` {problem}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },

    /// A template that is not valid Jinja.
    #[error("chat template `{template}`, line {line}, column {column}: {problem}")]
    Syntax {
        /// Name of the template.
        template: String,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// The parser's message.
        problem: String,
    },

    /// The template itself refused the conversation, with `raise_exception`.
    #[error("chat template `{template}` refuses the conversation: {message}")]
    Raised {
        /// Name of the template.
        template: String,
        /// The template's own words.
        message: String,
    },

    /// The template does not write all of the conversation.
    #[error(
        "chat template `{template}` does not write {} at `{}` ({:?}); take a template that does, change the row, or \
         leave such things out and count them with template_drops = \"count\"",
        dropped.kind, dropped.key, dropped.text
    )]
    Dropped {
        /// Name of the template.
        template: String,
        /// What is left out.
        dropped: Box<Dropped>,
    },

    /// The template does not write all of a prompt.
    #[error(
        "chat template `{template}` does not write {} at `{}` ({:?}), so the model would not see it; leave it out, or take \
         a template that writes it",
        dropped.kind, dropped.key, dropped.text
    )]
    Unseen {
        /// Name of the template.
        template: String,
        /// What is left out.
        dropped: Box<Dropped>,
    },

    /// Content that spells a special token, if that is refused.
    #[error(
        "`{}` spells the special token `{}`; change the row, or write special_tokens = \"text\" to have it encoded as \
         characters", spelled.key, spelled.token
    )]
    Spelled {
        /// The token.
        spelled: SpelledToken,
    },

    /// The template failed on the conversation.
    #[error("chat template `{template}`, line {line}: {problem}")]
    Render {
        /// Name of the template.
        template: String,
        /// Line, from 1; 0 where it is not known.
        line: usize,
        /// What failed.
        problem: String,
    },

    /// A loss on the assistant's tokens with a template that does not mark them.
    #[error(
        "chat template `{template}` has no {{% generation %}} blocks, so it does not say which tokens are \
         the assistant's; write learned = \"all\" for a loss on all tokens, mark what the assistant writes with \
         {{% generation %}} … {{% endgeneration %}}, or take a built-in template that does: {}",
        crate::built_in::MARKED.join(", ")
    )]
    Unmarked {
        /// Name of the template.
        template: String,
    },

    /// A tokenizer that splits the markers of a turn.
    #[error(
        "tokenizer `{tokenizer}` has no single token for {}; add them with \
         `smollm3 tokenizer add-chat-tokens CHECKPOINT --out DIR`", missing.join(", ")
    )]
    MissingTokens {
        /// Name of the tokenizer.
        tokenizer: String,
        /// The tokens.
        missing: Vec<String>,
    },

    /// A tokenizer that fails on a text.
    #[error(transparent)]
    Encode(#[from] CorpusError),

    /// A tokenizer that fails on a text or that tokens cannot be added to.
    #[error("tokenizer `{tokenizer}`: {problem}")]
    Tokenizer {
        /// Name of the tokenizer.
        tokenizer: String,
        /// What went wrong.
        problem: String,
    },
}

/// `Result` with [`ChatError`].
pub type Result<T, E = ChatError> = std::result::Result<T, E>;

impl ChatError {
    pub(crate) fn row(problem: impl Into<String>) -> Self {
        ChatError::Row {
            problem: problem.into(),
        }
    }

    pub(crate) fn checkpoint(path: &Path, problem: impl Into<String>) -> Self {
        ChatError::Checkpoint {
            path: path.to_owned(),
            problem: problem.into(),
        }
    }
}
