//! The machine has too little of something: memory that the kernel does not give, a disk under the spool that fails.

use std::path::PathBuf;
use std::process::Command;

use crate::kill::{holds_at_rest, number, once, seed, stage};
use crate::support::program::{Running, program, run, start};
use crate::support::story::Story;
use crate::support::{World, oracle};

/// The address space that a process has, in bytes.
fn size_of(running: &Running) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.id())).expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).expect("a size");
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes << 10
}

/// From one moment on the kernel gives no more memory, or a little. However it ends, what comes next finds all in order.
#[tokio::test]
async fn without_memory_it_dies_and_loses_nothing() {
    let (world, (broker, heard)) = (World::new().await, stage().await);
    let mut story = Story::begin(&world, seed()).await;
    let mut died = 0;
    for more in [0, 3, 6, 9, 12, 24].repeat(number("PEO_SEEDS", 1) as usize) {
        story.change_all(&world).await;
        let mut command = once(&world, &broker);
        command.env("FAILPOINTS", "after_list=sleep(1000)");
        let running = start(command);
        running.says("Failpoint after_list").await;
        let limit = size_of(&running) + (more << 20);
        let limited =
            Command::new("prlimit").args(["--pid", &running.id().to_string(), &format!("--as={limit}")]).status();
        assert!(limited.expect("prlimit, of util-linux").success());
        let ended = running.ends().await;
        died += u64::from(ended.code == -1);
        eprintln!("{more} MiB more: {}", ended.code);
        let failed = world.rows("select id, error from loader_deliveries where status = 'failed'").await;
        assert!(failed.is_empty(), "{more} MiB more: not the file's fault: {failed:?}\n{}", ended.log);
        holds_at_rest(&world, &broker, &heard, &story).await;
    }
    assert!(died > 0, "that was enough for it");
}

/// What stands between the program and its unnamed files: from so many bytes on each call fails with this error.
fn shim(place: &std::path::Path) -> PathBuf {
    let library = place.join("shim.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/shim.c");
    let out =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).output().expect("cc");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    library
}

#[tokio::test]
async fn a_disk_that_fails_under_the_spool_is_no_fault_of_the_file() {
    let (world, place) = (World::with_table().await, tempfile::tempdir().expect("a folder"));
    let shim = shim(place.path());
    world.sql("create table dbo.f (id int primary key)").await;
    let rows: String = (0..150_000).map(|id| format!("I,{id},name of row {id},1.25\n")).collect();
    world.bucket.put("e/20991231-120000000.csv.gz", &rows).await;
    world.bucket.put("f/LOAD00000001.csv.gz", "1\n").await;
    let counts = "select (select count(*) from dbo.e) || '/' || (select count(*) from dbo.f) || '/' || count(*)
                  from loader_deliveries where status <> 'pending'";
    // the sorter's file, and the spools' behind it
    for (calls, bytes) in
        [("write", "0"), ("write", "100000"), ("write", "6000000"), ("read", "0"), ("read", "1500000")]
    {
        let mut command = program(&world);
        command.env("LD_PRELOAD", &shim).env("SHIM_CALLS", calls).env("SHIM_BYTES", bytes);
        let ended = run(command).await;
        assert_eq!(ended.code, 69, "{calls} {bytes}: {}", ended.log);
        assert!(ended.log.contains("Input/output error"), "{calls} {bytes}: {}", ended.log);
        assert_eq!(world.value(counts).await, "0/1/1", "{calls} {bytes}: the other table goes on: {}", ended.log);
        oracle::holds(&world, &[], None).await;
    }
    run(program(&world)).await.ok();
    assert_eq!(world.value(counts).await, "150000/1/2");
}
