//! The bucket: may we list it, may we get from it, and what is in it.

use super::report::{Part, Report};
use super::within;
use crate::commands::term_format;
use crate::decode::dialect::Order;
use crate::loader::service::End;
use crate::source::settings::Settings;
use crate::source::{Magic, Probe, Source};

/// Checks the bucket and returns its content, or `None` if it cannot be listed.
pub(super) async fn check(settings: Option<&Settings>, report: &mut Report) -> Option<Probe> {
    let Some(settings) = settings else {
        report.unknown(Part::Source, "", "SOURCE has faults");
        return None;
    };
    // the order of files is nothing that we look at
    let source = match within(Source::connect(settings, Order::default())).await {
        Ok(source) => source,
        Err(trouble) => {
            report.trouble(Part::Source, "list", &trouble, "TLS to the bucket needs them");
            return None;
        }
    };
    let survey = list(&source, settings, report).await?;
    get(&source, &survey, report).await;
    if survey.foreign.total() > 0 {
        let left = if survey.foreign.total() == 1 { "it is" } else { "they are" };
        report.ok(Part::Source, "other objects", format!("{}; {left} left alone", survey.foreign));
    }
    Some(survey)
}

async fn list(source: &Source, settings: &Settings, report: &mut Report) -> Option<Probe> {
    let place = format!("bucket {}, path {:?}", settings.bucket, settings.path);
    let survey = match within(source.survey()).await {
        Ok(survey) => survey,
        Err(trouble) => {
            let hint = "Check bucket_endpoint in SOURCE, and that this machine reaches it";
            report.trouble(Part::Source, "list", &trouble, hint);
            return None;
        }
    };
    let tables = term_format::count(survey.tables.len() as u64, "table");
    let count = |objects| term_format::count(objects as u64, "object");
    match (survey.objects, survey.more) {
        (0, _) => {
            let hint = "Check bucket_path in SOURCE, unless the first file is still to come";
            report.warn(Part::Source, "list", format!("{place}: nothing is there"), hint);
        }
        (objects, _) if survey.tables.is_empty() => {
            let hint = "Check bucket_path in SOURCE: below it come schema, table and file";
            report.warn(Part::Source, "list", format!("{place}: {}, none a file of a table", count(objects)), hint);
        }
        (objects, more) => {
            let more = if more { "more than " } else { "" };
            report.ok(Part::Source, "list", format!("{place}: {more}{}, files of {tables}", count(objects)));
        }
    }
    Some(survey)
}

async fn get(source: &Source, survey: &Probe, report: &mut Report) {
    let Some(sample) = &survey.sample else {
        report.unknown(Part::Source, "get", "There is no file to try it with");
        return;
    };
    let key = &sample.key;
    let must_be_gzip = key.ends_with(".gz");
    match within(source.opening(sample)).await {
        Ok(Magic::Gzip) => report.ok(Part::Source, "get", format!("{key}: gzip")),
        Ok(Magic::Other) if !must_be_gzip => report.ok(Part::Source, "get", format!("{key}: not compressed")),
        Ok(opening) => {
            let what =
                if opening == Magic::Empty { "the object is empty" } else { "not gzip, though its name says so" };
            let hint = "Put a mended file in its place; its table stops at it";
            report.fail(Part::Source, "get", format!("{key}: {what}"), hint, End::Stopped);
        }
        Err(trouble) => {
            let hint = "The credentials in SOURCE need s3:GetObject besides s3:ListBucket; see deploy/s3-policy.json";
            report.trouble(Part::Source, "get", &trouble, hint);
        }
    }
}
