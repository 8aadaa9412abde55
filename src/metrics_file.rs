//! Writes the metrics to a file for jobs that cannot be scraped: node-exporter's textfile collector reads it after
//! the program has ended. The file is replaced atomically.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::Builder;

use crate::metrics::Metrics;

/// Path of the metrics file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsFile(PathBuf);

impl MetricsFile {
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Returns the file's folder.
    pub fn folder(&self) -> &Path {
        self.0.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// Returns `true` if the collector will read the file: it reads only files that end in `.prom`.
    pub fn is_collected(&self) -> bool {
        self.0.extension().is_some_and(|ending| ending == "prom")
    }

    /// Returns `true` if the path is a folder, which a file cannot replace.
    pub fn is_folder(&self) -> bool {
        self.0.is_dir() || self.0.file_name().is_none()
    }

    /// Gives `metrics` what only an earlier run can know.
    pub fn recall(&self, metrics: &Metrics) {
        if let Ok(text) = std::fs::read_to_string(&self.0) {
            metrics.recall(&text);
        }
    }

    /// Replaces the file. Who must read it is another user than who runs this.
    pub fn write(&self, metrics: &Metrics) -> io::Result<()> {
        let mut file = Builder::new().prefix(".paper-engine-").suffix(".tmp").tempfile_in(self.folder())?;
        file.write_all(metrics.render_what_stays().as_bytes())?;
        file.as_file().set_permissions(Permissions::from_mode(0o644))?;
        file.persist(&self.0)?;
        Ok(())
    }

    /// Writes the file; a failure is logged and otherwise ignored.
    pub fn keep(&self, metrics: &Metrics) {
        if let Err(error) = self.write(metrics) {
            let path = self.0.display();
            tracing::warn!(
                "METRICS_FILE: cannot write {path}: {error}. The metrics there are those of an earlier run."
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_file_is_replaced_whole_and_everybody_may_read_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = MetricsFile::new(folder.path().join("loader.prom"));
        let metrics = Metrics::new("1");
        file.write(&metrics).expect("written");
        metrics.outbox(7);
        file.write(&metrics).expect("written again");
        let path = folder.path().join("loader.prom");
        let text = std::fs::read_to_string(&path).expect("text");
        assert!(text.contains("\npaper_engine_outbox_messages 7\n"));
        assert!(!text.contains("process_"), "node-exporter has its own\n{text}");
        assert_eq!(std::fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o644);
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing is left beside it");
    }

    #[test]
    fn an_earlier_success_is_not_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = MetricsFile::new(folder.path().join("loader.prom"));
        let first = Metrics::new("1");
        first.success(datetime!(2022-09-22 09:58:53.5 UTC));
        file.write(&first).expect("written");
        let second = Metrics::new("1");
        file.recall(&second);
        let line = "\npaper_engine_last_success_timestamp_seconds 1663840733.5\n";
        assert!(second.render().contains(line), "{}", second.render());
    }

    #[test]
    fn where_it_is_and_who_reads_it() {
        let file = |path: &str| MetricsFile::new(PathBuf::from(path));
        assert_eq!(file("a.prom").folder(), Path::new("."));
        assert_eq!(file("/var/lib/a.prom").folder(), Path::new("/var/lib"));
        assert!(file("a.prom").is_collected() && !file("a.txt").is_collected() && !file(".prom").is_collected());
        assert!(file("/tmp").is_folder() && file("/").is_folder() && !file("/tmp/no/such").is_folder());
    }
}
