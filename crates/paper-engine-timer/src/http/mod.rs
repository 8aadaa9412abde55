//! Delivers one webhook request: connector with the guard against request forgery, time-outs, per-endpoint concurrency, circuit
//! breaker, outcomes and signatures.
