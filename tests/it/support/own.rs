//! A disk and a network of a test's own, for which nobody must be root: the test runs once more, in namespaces of its own.
//!
//! Where a machine lets nobody have them, `just test` leaves these tests out, says so and has them counted as skipped.

use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Set where a test runs in namespaces of its own.
const INSIDE: &str = "PEO_INSIDE";

/// Which namespaces, besides a user's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Own {
    Disk,
    /// of the servers that all tests have in common none can be reached
    Network,
}

/// Whether we are in namespaces of our own. If not, the test `name` runs once more, in there.
#[track_caller]
pub fn inside(own: Own, name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount"]);
    if own == Own::Network {
        command.arg("--net");
    }
    command.arg(std::env::current_exe().expect("a test")).args(["--exact", name, "--nocapture"]).env(INSIDE, "1");
    let out = command.output().expect("unshare, of util-linux");
    let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "in namespaces of its own (needs `unshare --user --mount --net` and `ip`): {said}");
    assert!(said.contains("1 passed"), "no test has the name {name}: {said}");
    eprintln!("{said}");
    false
}

/// What makes nobody in particular of the root that we are in there: Postgres refuses to run as root.
pub fn nobody() -> Option<[&'static str; 4]> {
    std::env::var_os(INSIDE).map(|_| ["unshare", "--user", "--map-user=1000", "--map-group=1000"])
}

/// A file system of its own at this place, of this size; `more` as for mount: `ro`, `remount`.
pub fn disk(place: &Path, size: &str, more: &str) {
    let options = format!("size={size},mode=0777{more}");
    finished(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(place));
}

/// Takes all room there is, with a file to be removed.
pub fn fill(place: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(place).expect("room for a file");
    for piece in [64 << 10, 4 << 10, 1] {
        while file.write_all(&vec![b'x'; piece]).is_ok() {}
    }
}

/// Another host, at the other end of a cable.
pub struct Far {
    holder: Child,
}

pub const NEAR: &str = "10.99.0.1";
pub const FAR: &str = "10.99.0.2";
const CABLE: &str = "near";
const THERE: &str = "far";

impl Far {
    pub fn new() -> Self {
        // whoever lives there keeps it
        let mut holder = Command::new("unshare");
        holder.args(["--net", "sh", "-c", "echo; exec sleep 600"]).stdout(Stdio::piped());
        let mut holder = holder.spawn().expect("unshare");
        let mut line = [0];
        std::io::Read::read_exact(holder.stdout.as_mut().expect("piped"), &mut line).expect("it is there");
        let far = Self { holder };
        far.here("link set lo up");
        far.there("link set lo up");
        far.here(&format!("link add {CABLE} type veth peer name {THERE}"));
        far.here(&format!("link set {THERE} netns {}", far.holder.id()));
        far.here(&format!("addr add {NEAR}/24 dev {CABLE}"));
        far.there(&format!("addr add {FAR}/24 dev {THERE}"));
        far.here(&format!("link set {CABLE} up"));
        far.there(&format!("link set {THERE} up"));
        far
    }

    /// What to put before a command that is to run there.
    pub fn via(&self) -> Vec<String> {
        ["nsenter", "-t", &self.holder.id().to_string(), "--net"].map(str::to_owned).to_vec()
    }

    /// From now on whatever either side sends goes to an address that nobody has: neither is told.
    pub fn cut(&self) {
        self.here(&format!("neigh replace {FAR} lladdr 02:00:00:00:00:99 dev {CABLE} nud permanent"));
        self.there(&format!("neigh replace {NEAR} lladdr 02:00:00:00:00:98 dev {THERE} nud permanent"));
    }

    pub fn mend(&self) {
        self.here(&format!("neigh del {FAR} dev {CABLE}"));
        self.there(&format!("neigh del {NEAR} dev {THERE}"));
    }

    fn here(&self, what: &str) {
        finished(Command::new("ip").args(what.split(' ')));
    }

    fn there(&self, what: &str) {
        let via = self.via();
        finished(Command::new(&via[0]).args(&via[1..]).arg("ip").args(what.split(' ')));
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

#[track_caller]
fn finished(command: &mut Command) {
    let out = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
}
