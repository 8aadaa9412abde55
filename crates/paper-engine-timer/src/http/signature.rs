//! Signs requests by the Standard Webhooks specification: `webhook-id`, `webhook-timestamp` and `webhook-signature`, one signature
//! for each secret, so that a secret can be replaced while receivers still know the old one.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderName, HeaderValue};
use ring::hmac;

/// The lengths of secrets that the specification allows, in bytes.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// What a secret begins with.
const PREFIX: &str = "whsec_";

/// A secret that an endpoint shares with this program. It is never shown.
#[derive(Clone)]
pub struct SigningSecret(hmac::Key);

/// Text that is no secret of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSecret {
    #[error("does not begin with whsec_")]
    Prefix,
    #[error("is not base64 after whsec_")]
    Base64,
    #[error("has {0} bytes; from 24 to 64 are allowed")]
    Length(usize),
}

impl SigningSecret {
    /// Reads `whsec_` and base64. Blanks and line ends around it, as files have them, do not matter.
    pub fn parse(text: &str) -> Result<Self, BadSecret> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(BadSecret::Prefix)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| BadSecret::Base64)?;
        if !SECRET_BYTES.contains(&bytes.len()) {
            return Err(BadSecret::Length(bytes.len()));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(format!("{id}.{timestamp}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Returns the three headers of an attempt at `now`; none without a secret. `id` must not contain a dot, as UUIDs do not.
pub fn headers(
    secrets: &[SigningSecret],
    id: &str,
    now: SystemTime,
    body: &[u8],
) -> Option<[(HeaderName, HeaderValue); 3]> {
    if secrets.is_empty() {
        return None;
    }
    let timestamp = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let signatures: Vec<String> = secrets.iter().map(|secret| secret.sign(id, timestamp, body)).collect();
    Some([
        (HeaderName::from_static("webhook-id"), HeaderValue::from_str(id).ok()?),
        (HeaderName::from_static("webhook-timestamp"), HeaderValue::from(timestamp)),
        (HeaderName::from_static("webhook-signature"), HeaderValue::from_str(&signatures.join(" ")).ok()?),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;
    use standardwebhooks::Webhook;

    const ID: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";
    const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDqwertyuiopA=";

    #[allow(clippy::disallowed_methods, reason = "the published library compares with the system's time")]
    fn signed(secrets: &[&str], body: &[u8]) -> HeaderMap {
        let secrets: Vec<_> = secrets.iter().map(|text| SigningSecret::parse(text).expect("a secret")).collect();
        headers(&secrets, ID, SystemTime::now(), body).expect("headers").into_iter().collect()
    }

    fn verifies(secret: &str, body: &[u8], headers: &HeaderMap) -> bool {
        Webhook::new(secret).expect("a secret").verify(body, headers).is_ok()
    }

    #[test]
    fn the_published_library_accepts_the_signature_of_any_body() {
        // the library verifies UTF-8 only
        for body in [b"".as_slice(), b"{\"test\": 2432232314}", "\0é.\r\n".as_bytes()] {
            assert!(verifies(OLD, body, &signed(&[OLD], body)), "{body:?}");
        }
    }

    #[test]
    fn the_published_library_refuses_another_body_id_time_or_secret() {
        let good = signed(&[OLD], b"body");
        assert!(!verifies(OLD, b"bodY", &good));
        assert!(!verifies(NEW, b"body", &good));
        for (name, value) in [("webhook-id", "other"), ("webhook-timestamp", "1700000000")] {
            let mut changed = good.clone();
            changed.insert(name, value.parse().expect("a value"));
            assert!(!verifies(OLD, b"body", &changed), "{name}");
        }
    }

    #[test]
    fn while_secrets_rotate_receivers_with_either_accept() {
        let headers = signed(&[NEW, OLD], b"body");
        assert!(verifies(OLD, b"body", &headers) && verifies(NEW, b"body", &headers));
    }

    #[test]
    fn secrets_of_another_form_are_refused() {
        let encode = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        for (text, fault) in [
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(), BadSecret::Prefix),
            (String::new(), BadSecret::Prefix),
            ("whsec_!!!".to_owned(), BadSecret::Base64),
            (encode(23), BadSecret::Length(23)),
            (encode(65), BadSecret::Length(65)),
        ] {
            assert_eq!(SigningSecret::parse(&text).err(), Some(fault), "{text}");
        }
        for bytes in [24, 64] {
            assert!(SigningSecret::parse(&format!("{}\n", encode(bytes))).is_ok());
        }
    }

    #[test]
    fn no_secret_no_headers_and_no_way_to_print_one() {
        assert!(headers(&[], ID, UNIX_EPOCH, b"").is_none());
        let secret = SigningSecret::parse(OLD).expect("a secret");
        assert_eq!(format!("{secret:?}"), "***");
    }
}
