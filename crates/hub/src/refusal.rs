//! What an HTTP error of the Hub means, and what to do about it.
//!
//! Source: `hf_raise_for_status` of `huggingface_hub`. The header `X-Error-Code` distinguishes cases that share a status. To a
//! request without a token, a missing model and a private one look the same.

use reqwest::Response;
use reqwest::header::HeaderName;
use smollm3_corpus::remote::Fault;

use crate::api::{Api, Asked, Trouble, text};
use crate::error::{HubError, in_brackets};

const ERROR_CODE: HeaderName = HeaderName::from_static("x-error-code");
pub(crate) const ERROR_MESSAGE: HeaderName = HeaderName::from_static("x-error-message");

impl Api<'_> {
    /// Turns an HTTP error into its meaning.
    pub(crate) fn check(&self, response: &Response, revision: &str) -> Asked<()> {
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let code = text(response.headers(), &ERROR_CODE).unwrap_or_default();
        let message = text(response.headers(), &ERROR_MESSAGE).unwrap_or_default();
        let (repository, endpoint) = (self.repository.to_owned(), self.shown());
        let is_hub = response.url().origin() == self.endpoint.origin();
        Err(Trouble::Refused(match (status.as_u16(), code) {
            _ if !is_hub => return Err(self.fault(response, message)),
            (_, "RevisionNotFound") => HubError::NoRevision {
                repository,
                revision: revision.to_owned(),
                endpoint,
            },
            (_, "GatedRepo") => HubError::Gated {
                then: match self.token {
                    Some(_) => format!("for the account whose token is {}", self.whose_token()),
                    None => {
                        format!("then set HF_TOKEN to a token of that account ({endpoint}/settings/tokens)")
                    }
                },
                repository,
                endpoint,
            },
            (401 | 403, code) if self.token.is_some() && code != "RepoNotFound" => HubError::Token {
                repository,
                endpoint,
                status: status.as_u16(),
                token: self.whose_token(),
            },
            (_, "EntryNotFound") => HubError::Content {
                repository,
                problem: "has no such file at this commit".to_owned(),
            },
            (401 | 403 | 404, _) => HubError::NoRepository { repository, endpoint },
            _ => return Err(self.fault(response, message)),
        }))
    }

    fn fault(&self, response: &Response, message: &str) -> Trouble {
        let host = response.url().host_str().unwrap_or_default();
        let text = format!("{host} answered {}{}", response.status(), in_brackets(message));
        Trouble::Fault(Fault::of_status(text, response.status(), response.headers()))
    }

    pub(crate) fn whose_token(&self) -> &'static str {
        let given = |name| self.remote.variable(name).is_some();
        match (given("HF_TOKEN"), given("HF_TOKEN_PATH")) {
            (true, _) => "HF_TOKEN",
            (false, true) => "the file at HF_TOKEN_PATH",
            (false, false) => "the file `token` in Hugging Face's folder",
        }
    }
}
