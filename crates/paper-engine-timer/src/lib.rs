//! **paper-engine-timer** fires a webhook for each due task of a database table, on time, from any number of pods.

pub mod attempt;
pub mod http;
