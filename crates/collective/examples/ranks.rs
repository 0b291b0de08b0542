//! A rank for `scripts/test-mpi.sh`: `mpirun -n 4 ranks WHAT [SECONDS]`, where WHAT is one of
//!
//! * `check`: every operation, compared to the bit with a loop over ranks; rank 0 prints a hash of the results.
//! * `exit`, `panic`, `hang`, `leave`, `abort`: the last rank does this while the others wait for it.
//! * `disagree`: the last rank was started with another recipe.
//! * `time`: how long sums of 1 kB to 100 MB take.
//!
//! SECONDS is how long ranks wait for one another.

#[path = "../tests/support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use smollm3_collective::{Collective, CollectiveError, Placement, Result, agree, start};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let seconds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(60);
    let started = Placement::from_environment()
        .map_err(CollectiveError::from)
        .and_then(|placement| start(&placement, Duration::from_secs(seconds)));
    let ranks = match started {
        Ok(ranks) => ranks,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    match run(&*ranks, &what) {
        Ok(code) => code,
        Err(error) => {
            ranks.abort(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn run(ranks: &dyn Collective, what: &str) -> Result<ExitCode> {
    let is_last = ranks.rank() + 1 == ranks.world();
    match what {
        "check" => check(ranks)?,
        "time" => time(ranks)?,
        "disagree" => {
            let recipe = if is_last { "77b1" } else { "9f3a" };
            if let Err(error) = agree(ranks, &[("recipe", recipe.into()), ("version", "0.1.0".into())]) {
                ranks.finish()?;
                if ranks.rank() == 0 {
                    eprintln!("{error}");
                }
                return Ok(ExitCode::FAILURE);
            }
        }
        _ => {
            ranks.all_reduce(&mut [1.0; 100])?;
            match what {
                "exit" if is_last => std::process::exit(3),
                "panic" if is_last => panic!("on purpose"),
                "hang" if is_last => std::thread::sleep(Duration::from_secs(3600)),
                "leave" if is_last => return Ok(ExitCode::SUCCESS),
                "abort" if is_last => ranks.abort("its disk is full"),
                _ => ranks.all_reduce(&mut [1.0; 100])?,
            }
        }
    }
    ranks.finish()?;
    Ok(ExitCode::SUCCESS)
}

fn check(ranks: &dyn Collective) -> Result<()> {
    let hashes: Vec<u64> = support::LENGTHS
        .into_iter()
        .map(|length| support::check(ranks, length as u64, length))
        .collect();
    let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect();
    let of_ranks = ranks.all_gather_bytes(&bytes)?;
    assert!(
        of_ranks.iter().all(|of_rank| *of_rank == bytes),
        "ranks have different bits"
    );
    if ranks.rank() == 0 {
        let hash = hashes.iter().fold(0u64, |all, hash| all.rotate_left(7) ^ hash);
        println!("{} ranks, {hash:016x}", ranks.world());
    }
    Ok(())
}

fn time(ranks: &dyn Collective) -> Result<()> {
    for (length, times) in [(256, 1000), (25_000, 200), (2_500_000, 10), (25_000_000, 5)] {
        let mut values = vec![1e-3f32; length];
        ranks.all_reduce(&mut values)?;
        ranks.barrier()?;
        let begin = Instant::now();
        for _ in 0..times {
            ranks.all_reduce(&mut values)?;
        }
        let each = begin.elapsed().as_secs_f64() / f64::from(times);
        if ranks.rank() == 0 {
            let megabytes = length as f64 * 4e-6;
            println!(
                "all_reduce {megabytes:9.3} MB {:10.3} ms {:8.3} GB/s",
                each * 1e3,
                megabytes / each * 1e-3
            );
        }
    }
    Ok(())
}
