//! Defines how a command ends without success: what is said on stderr, and the exit code.

use std::io;
use std::io::Write;
use std::process::ExitCode;

use pe_runtime::sanitize;

use crate::config::Faults;
use crate::store;

/// Why a command ends without success.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// 1: the command could not do what was asked.
    #[error("{0}")]
    Failed(String),
    /// 69: something cannot be reached.
    #[error("{0}")]
    Unavailable(String),
    /// 78: the configuration is wrong.
    #[error("{0}")]
    Misconfigured(String),
    /// 0: nobody reads the output any more, like `head`.
    #[error("the output was closed")]
    Closed,
}

impl Failure {
    /// Says on stderr what is wrong, and returns the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        let code = match self {
            Self::Closed => return ExitCode::SUCCESS,
            Self::Failed(_) => 1,
            Self::Unavailable(_) => 69,
            Self::Misconfigured(_) => 78,
        };
        for line in self.to_string().lines() {
            let _ = writeln!(io::stderr(), "paper-engine-timer: {}", sanitize::text(line));
        }
        ExitCode::from(code)
    }
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        Self::Misconfigured(faults.to_string())
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        match &error {
            store::Error::Setting(_) => Self::Misconfigured(error.to_string()),
            store::Error::Unreachable { .. } | store::Error::Denied { .. } => Self::Unavailable(error.to_string()),
            store::Error::Statement { temporary: true, .. } => Self::Unavailable(error.to_string()),
            store::Error::Statement { .. } | store::Error::Table(_) => Self::Failed(error.to_string()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::Closed } else { Self::Failed(error.to_string()) }
    }
}
