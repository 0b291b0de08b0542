//! Names of files behind URLs: the same for the same file, and without secrets.
//!
//! A query may choose the file (`?part=2`) or sign the request. A signature differs each time and must not be shown, so it is
//! no part of the name; of the rest, the name has a hash.

use url::Url;

/// Query parameters by which one service signs requests, in lower case.
struct Signature {
    /// The parameter that all its signed URLs have.
    mark: &'static str,
    /// The others.
    rest: &'static [&'static str],
}

/// How parameters begin that only signed URLs have (AWS, Google Cloud, Alibaba Cloud, Tencent Cloud), or that say how a file is sent.
const SIGNED: [&str; 5] = ["x-amz-", "x-goog-", "x-oss-", "q-", "response-content-"];

/// Parameters that give access, or say how a file is sent, and not which.
const ACCESS: [&str; 9] = [
    "__sign",
    "access_token",
    "dl",
    "download",
    "hdnea",
    "hdnts",
    "raw",
    "token",
    "x-id",
];

const SIGNATURES: [Signature; 2] = [
    // CloudFront, and the earlier ones of AWS, Google Cloud and Alibaba Cloud.
    Signature {
        mark: "signature",
        rest: &[
            "expires",
            "policy",
            "key-pair-id",
            "awsaccesskeyid",
            "googleaccessid",
            "ossaccesskeyid",
            "security-token",
        ],
    },
    // Azure: shared access signatures.
    Signature {
        mark: "sig",
        rest: &[
            "sv", "ss", "srt", "sr", "sp", "st", "se", "sip", "spr", "si", "skoid", "sktid", "skt", "ske",
            "sks", "skv",
        ],
    },
];

/// The name of the file at `url`. A hash of its query stands in front of the last part, whose ending tells the format.
pub(super) fn url_name(url: &Url) -> String {
    let name = without_secrets(url.as_str());
    match (url.query().and_then(query_hash), name.rsplit_once('/')) {
        (Some(hash), Some((folder, base))) => format!("{folder}/query-{hash}/{base}"),
        _ => name,
    }
}

/// 12 hexadecimal digits: a hash of the query without signatures; `None` if nothing else is in it.
fn query_hash(query: &str) -> Option<String> {
    let name = |parameter: &str| match parameter.split_once('=') {
        Some((name, _)) => name.to_ascii_lowercase(),
        None => parameter.to_ascii_lowercase(),
    };
    let names: Vec<String> = query.split('&').map(name).collect();
    let signs = |name: &str| {
        let of_service = |signature: &Signature| {
            names.iter().any(|name| name == signature.mark)
                && (name == signature.mark || signature.rest.contains(&name))
        };
        SIGNED.iter().any(|start| name.starts_with(start))
            || ACCESS.contains(&name)
            || SIGNATURES.iter().any(of_service)
    };
    let parameters = query.split('&').zip(&names);
    let kept = parameters.filter(|(parameter, name)| !parameter.is_empty() && !signs(name));
    let kept: Vec<&str> = kept.map(|(parameter, _)| parameter).collect();
    let hash = blake3::hash(kept.join("&").as_bytes()).to_hex();
    (!kept.is_empty()).then(|| hash.chars().take(12).collect())
}

/// An address without secrets: of an `http` or `https` URL, user, password and query (which may be a signature) are removed.
/// Any other text is unchanged.
pub fn without_secrets(address: &str) -> String {
    match Url::parse(address) {
        Ok(mut url) if matches!(url.scheme(), "http" | "https") => {
            url.set_query(None);
            // Neither fails for an address with a host, and these have one.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.into()
        }
        _ => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(url: &str) -> String {
        url_name(&Url::parse(url).unwrap())
    }

    #[test]
    fn what_a_query_chooses_is_in_the_name_and_signatures_are_not() {
        let plain = "https://host/data/get.jsonl";
        assert_eq!(name(plain), plain);
        let [one, two] = ["?part=1", "?part=2"].map(|query| name(&format!("{plain}{query}")));
        assert_ne!(one, two);
        assert!(
            one.starts_with("https://host/data/query-") && one.ends_with("/get.jsonl"),
            "{one}"
        );
        for signature in [
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=60&X-Amz-Signature=secret",
            "X-Goog-Date=20260101T000000Z&X-Goog-Signature=secret",
            "Expires=1&Policy=secret&Signature=secret&Key-Pair-Id=key",
            "AWSAccessKeyId=key&Signature=secret&Expires=1",
            "sv=2024-11-04&st=2026&se=2027&sr=b&sp=r&sig=secret",
            "signature=secret",
            "download=true",
            "token=secret&response-content-disposition=attachment",
        ] {
            assert_eq!(name(&format!("{plain}?{signature}")), plain, "{signature}");
            assert_eq!(name(&format!("{plain}?{signature}&part=1")), one, "{signature}");
        }
        // Without a signature, these are parameters like others.
        for query in ["?st=1", "?expires=1", "?policy=a"] {
            assert_ne!(name(&format!("{plain}{query}")), plain, "{query}");
        }
    }
}
