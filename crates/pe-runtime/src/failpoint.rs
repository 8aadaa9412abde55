//! Points at which a test makes the program die, panic or stand still. Without the feature `failpoints`, which no
//! release has, `reach` does nothing.
//!
//! `FAILPOINTS="before_commit=kill@2;after_list=sleep(3000)"`: when `before_commit` is reached for the second time,
//! the process is killed as by SIGKILL; when `after_list` is reached for the first time, it stands still for three
//! seconds.

/// Marks the point `name`.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn reach(_name: &'static str) {}

#[cfg(feature = "failpoints")]
pub use armed::reach;

#[cfg(feature = "failpoints")]
mod armed {
    use std::collections::HashMap;
    use std::process::Command;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{LazyLock, OnceLock};
    use std::time::Duration;

    /// Action of a point, and the number of times that it must be reached first.
    struct Point {
        act: Act,
        left: AtomicU32,
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Act {
        Kill,
        Panic,
        Sleep(u64),
    }

    static POINTS: LazyLock<HashMap<String, Point>> = LazyLock::new(|| read(&setting()));

    /// Marks the point `name`, and performs its action.
    pub fn reach(name: &'static str) {
        let Some(point) = POINTS.get(name) else { return };
        let last = |left: u32| left.checked_sub(1);
        if point.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, last) == Ok(1) {
            act(name, point.act);
        }
    }

    fn act(name: &str, act: Act) {
        tracing::warn!("Failpoint {name}: {act:?}.");
        match act {
            Act::Kill => kill(),
            Act::Panic => panic!("failpoint {name}"),
            Act::Sleep(millis) => std::thread::sleep(Duration::from_millis(millis)),
        }
    }

    /// Kills the process as the kernel does: nothing is flushed, nothing is dropped.
    fn kill() {
        let _ = Command::new("kill").args(["-KILL", &std::process::id().to_string()]).status();
        static NEVER: OnceLock<()> = OnceLock::new();
        NEVER.wait();
    }

    #[allow(clippy::disallowed_methods, reason = "no setting of the program's, and in no release")]
    fn setting() -> String {
        std::env::var("FAILPOINTS").unwrap_or_default()
    }

    fn read(setting: &str) -> HashMap<String, Point> {
        let points = setting.split(';').filter(|point| !point.is_empty());
        points.map(|point| one(point).unwrap_or_else(|| panic!("FAILPOINTS: {point}: name=act@times"))).collect()
    }

    fn one(point: &str) -> Option<(String, Point)> {
        let (name, act) = point.split_once('=')?;
        let (act, times) = act.split_once('@').unwrap_or((act, "1"));
        let act = match act {
            "kill" => Act::Kill,
            "panic" => Act::Panic,
            _ => Act::Sleep(act.strip_prefix("sleep(")?.strip_suffix(')')?.parse().ok()?),
        };
        Some((name.trim().to_owned(), Point { act, left: AtomicU32::new(times.parse().ok()?) }))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn points_have_an_act_and_the_time_it_comes() {
            let points = read("before_commit=kill@2;after_list=sleep(30)");
            let of = |name: &str| (points[name].act, points[name].left.load(Ordering::SeqCst));
            assert_eq!(of("before_commit"), (Act::Kill, 2));
            assert_eq!(of("after_list"), (Act::Sleep(30), 1));
            assert!(one("before_commit=die").is_none());
        }
    }
}
