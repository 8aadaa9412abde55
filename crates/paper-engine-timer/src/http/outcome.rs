//! Decides what an answer, or the lack of one, means for a task. This is the only place that does.

use std::error::Error;
use std::io;
use std::time::SystemTime;

use http::{HeaderMap, StatusCode};
use hyper_util::client::legacy;

use super::address_policy::ForbiddenAddress;
use super::connector::ConnectTimedOut;
use super::endpoints::Verdict;
use super::resolve::LookupError;
use super::retry_after::retry_after;
use crate::attempt::{Outcome, Reason, ReasonKind};

/// Returns what an answer means. Its body never matters.
pub(super) fn of_answer(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Outcome {
    let code = status.as_u16();
    let reason =
        |text: &str| Reason::of_status(ReasonKind::Status, code, format!("the endpoint answered {code}{text}."));
    match code {
        200..=299 => Outcome::Done { status: code },
        408 | 425 | 429 | 500..=599 => Outcome::Retry { reason: reason(""), after: retry_after(headers, now) },
        410 => {
            let text = "the endpoint answered 410: it is gone, and is disabled.";
            Outcome::EndpointGone { reason: Reason::of_status(ReasonKind::EndpointGone, code, text) }
        }
        300..=399 => {
            let text = format!("the endpoint answered {code}; redirects are not followed.");
            Outcome::Failed { reason: Reason::of_status(ReasonKind::Redirect, code, text) }
        }
        400..=499 => Outcome::Failed { reason: reason("") },
        _ => Outcome::Failed { reason: reason(", which is no final status of HTTP") },
    }
}

/// Returns what an attempt without an answer means.
pub(super) fn of_error(error: &legacy::Error) -> Outcome {
    let reason = reason_of(error);
    match reason.kind {
        ReasonKind::PrivateAddress => Outcome::Refused { reason },
        _ => Outcome::Retry { reason, after: None },
    }
}

/// Returns the outcome of an attempt that its deadline ended.
pub(super) fn timed_out(waited_for: &str) -> Outcome {
    Outcome::Retry { reason: Reason::new(ReasonKind::Timeout, format!("{waited_for} in time.")), after: None }
}

/// Looks through the causes of an error for the first that is known.
fn reason_of(error: &legacy::Error) -> Reason {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(reason) = known(error) {
            return reason;
        }
        cause = inner(error);
    }
    if error.is_connect() {
        return Reason::new(ReasonKind::Connect, "the connection could not be made.");
    }
    Reason::new(ReasonKind::Reset, "the connection ended before there was an answer.")
}

/// Returns the cause of an error; an I/O error hides what it was made of.
fn inner<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    wrapped.map(|error| error as &(dyn Error + 'static)).or_else(|| error.source())
}

fn known(error: &(dyn Error + 'static)) -> Option<Reason> {
    if let Some(forbidden) = error.downcast_ref::<ForbiddenAddress>() {
        return Some(of_forbidden(forbidden));
    }
    if let Some(lookup) = error.downcast_ref::<LookupError>() {
        return Some(of_lookup(lookup));
    }
    if let Some(ConnectTimedOut(limit)) = error.downcast_ref() {
        return Some(Reason::new(
            ReasonKind::Timeout,
            format!("there was no connection within {} s.", limit.as_secs_f64()),
        ));
    }
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(Reason::new(ReasonKind::Tls, format!("TLS: {tls}.")));
    }
    if let Some(hyper) = error.downcast_ref::<hyper::Error>() {
        return of_hyper(hyper);
    }
    error.downcast_ref::<io::Error>().filter(|error| error.get_ref().is_none()).map(of_io)
}

/// Returns the reason of an address that the guard forbids, with what would allow it.
pub(super) fn of_forbidden(forbidden: &ForbiddenAddress) -> Reason {
    let hint = forbidden.suggestion().map(|net| format!("; ALLOW_PRIVATE={net} would allow it")).unwrap_or_default();
    Reason::new(ReasonKind::PrivateAddress, format!("{forbidden}{hint}."))
}

fn of_lookup(error: &LookupError) -> Reason {
    match error {
        LookupError::Forbidden(forbidden) => of_forbidden(forbidden),
        LookupError::Failed(_) | LookupError::Empty => Reason::new(ReasonKind::Dns, format!("{error}.")),
    }
}

fn of_hyper(error: &hyper::Error) -> Option<Reason> {
    if error.is_parse() {
        let text = "the answer is not HTTP/1.1, or its headers are too many or too large.";
        return Some(Reason::new(ReasonKind::BadAnswer, text));
    }
    if error.is_incomplete_message() {
        return Some(Reason::new(ReasonKind::Reset, "the connection was closed before the answer was complete."));
    }
    None
}

fn of_io(error: &io::Error) -> Reason {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, TimedOut, UnexpectedEof};
    let (kind, text) = match error.kind() {
        io::ErrorKind::ConnectionRefused => (ReasonKind::Connect, "the connection was refused.".to_owned()),
        TimedOut => (ReasonKind::Timeout, "the connection timed out.".to_owned()),
        ConnectionReset | ConnectionAborted | BrokenPipe | NotConnected | UnexpectedEof => {
            (ReasonKind::Reset, "the connection was reset.".to_owned())
        }
        _ => (ReasonKind::Connect, format!("the connection failed: {error}.")),
    };
    Reason::new(kind, text)
}

/// Returns what an outcome says about the server: any answer means that it is there.
pub(super) fn verdict_on_host(outcome: &Outcome) -> Verdict {
    match outcome {
        Outcome::Done { .. } | Outcome::EndpointGone { .. } => Verdict::Alive,
        Outcome::Retry { reason, .. } | Outcome::Failed { reason } if reason.status.is_some() => Verdict::Alive,
        Outcome::Retry { .. } => Verdict::Failing,
        Outcome::Failed { .. } | Outcome::Refused { .. } => Verdict::Unknown,
    }
}

/// Returns what an outcome says about the endpoint behind the server: 429, 502, 503 and 504 ask for less.
pub(super) fn verdict_on_endpoint(outcome: &Outcome) -> Verdict {
    match outcome {
        Outcome::Retry { reason, .. } if matches!(reason.status, Some(429 | 502..=504)) => Verdict::Failing,
        Outcome::Retry { reason, .. } if reason.status.is_none() => Verdict::Unknown,
        Outcome::Refused { .. } => Verdict::Unknown,
        _ => Verdict::Alive,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::RETRY_AFTER;
    use std::time::Duration;

    fn answer(code: u16) -> Outcome {
        of_answer(StatusCode::from_u16(code).expect("a status"), &HeaderMap::new(), SystemTime::UNIX_EPOCH)
    }

    /// Every status that HTTP can carry, by the contract's table.
    #[test]
    fn every_status_has_the_outcome_of_the_table() {
        for code in 100..=999 {
            let name = match answer(code) {
                Outcome::Done { status } if status == code => "done",
                Outcome::Retry { reason, after: None } if reason.status == Some(code) => "retry",
                Outcome::EndpointGone { reason } if reason.status == Some(code) => "gone",
                Outcome::Failed { reason } if reason.kind == ReasonKind::Redirect => "redirect",
                Outcome::Failed { reason } if reason.status == Some(code) => "failed",
                other => panic!("{code}: {other:?}"),
            };
            let expected = match code {
                200..=299 => "done",
                408 | 425 | 429 | 500..=599 => "retry",
                410 => "gone",
                300..=399 => "redirect",
                _ => "failed",
            };
            assert_eq!(name, expected, "{code}");
        }
    }

    #[test]
    fn retry_after_is_taken_from_answers_that_are_retried_only() {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, "7".parse().expect("a value"))]);
        let outcome = |code| of_answer(StatusCode::from_u16(code).expect("a status"), &headers, SystemTime::UNIX_EPOCH);
        for code in [408, 425, 429, 500, 503] {
            let Outcome::Retry { after, .. } = outcome(code) else { panic!("{code}") };
            assert_eq!(after, Some(Duration::from_secs(7)));
        }
        assert!(matches!(outcome(301), Outcome::Failed { .. }));
    }

    #[test]
    fn an_answer_speaks_for_the_host_and_throttling_against_the_endpoint() {
        for code in [200, 301, 404, 410, 500, 503] {
            assert_eq!(verdict_on_host(&answer(code)), Verdict::Alive, "{code}");
        }
        for (code, verdict) in [
            (200, Verdict::Alive),
            (404, Verdict::Alive),
            (500, Verdict::Alive),
            (429, Verdict::Failing),
            (503, Verdict::Failing),
        ] {
            assert_eq!(verdict_on_endpoint(&answer(code)), verdict, "{code}");
        }
        assert_eq!(verdict_on_host(&timed_out("no answer")), Verdict::Failing);
        let refused = Outcome::Refused { reason: Reason::new(ReasonKind::PrivateAddress, "") };
        assert_eq!((verdict_on_host(&refused), verdict_on_endpoint(&refused)), (Verdict::Unknown, Verdict::Unknown));
    }
}
