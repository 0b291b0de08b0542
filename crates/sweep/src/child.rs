//! One child process: started, waited for, and asked to end when the sweep is.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use smollm3_files::io;

use crate::Result;

/// How often a child is polled.
const POLL: Duration = Duration::from_millis(100);

/// Exit code of a run that was stopped and can go on.
const STOPPED: i32 = 130;

/// How a child ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    Done,
    Stopped,
    Failed(String),
}

/// Runs `command` to its end and appends its output to `log`. Once `stop` is set the child gets SIGTERM, and as much time
/// as it needs to save.
pub(crate) fn run(command: &mut Command, log: &Path, stop: &AtomicBool) -> Result<Ended> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(log)
        .map_err(io("open", log))?;
    let begin = file.metadata().map_err(io("read", log))?.len();
    let both = file.try_clone().map_err(io("open", log))?;
    command.stdin(Stdio::null()).stdout(both).stderr(file);
    // Ctrl-C in a terminal signals the whole process group; a child that is signalled twice ends without saving.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    #[cfg(target_os = "linux")]
    end_with_this_thread(command);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let program = command.get_program().to_string_lossy().into_owned();
            return Ok(Ended::Failed(format!("{program} cannot be started: {error}")));
        }
    };
    let mut asked = false;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(io("wait for", log))? {
            break status;
        }
        if !asked && stop.load(Ordering::Relaxed) {
            asked = true;
            ask_to_end(&mut child);
        }
        sleep(POLL);
    };
    Ok(match status.code() {
        Some(0) => Ended::Done,
        Some(STOPPED) => Ended::Stopped,
        _ if asked => Ended::Stopped,
        _ => Ended::Failed(reason(status, log, begin)),
    })
}

/// Sends the child SIGTERM when this thread is gone, for instance because the sweep was killed.
#[cfg(target_os = "linux")]
fn end_with_this_thread(command: &mut Command) {
    let parent = std::process::id();
    let before_it_runs = move || {
        // SAFETY: two system calls that touch no memory.
        let is_alone = unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
            libc::getppid().unsigned_abs() != parent
        };
        match is_alone {
            true => Err(std::io::ErrorKind::BrokenPipe.into()),
            false => Ok(()),
        }
    };
    // SAFETY: only system calls between fork and exec, and no allocation.
    unsafe { std::os::unix::process::CommandExt::pre_exec(command, before_it_runs) };
}

#[cfg(unix)]
fn ask_to_end(child: &mut Child) {
    if let Ok(id) = libc::pid_t::try_from(child.id()) {
        // SAFETY: sends a signal to a child that has not been waited for, whose id is therefore still its own.
        unsafe { libc::kill(id, libc::SIGTERM) };
    }
}

#[cfg(not(unix))]
fn ask_to_end(child: &mut Child) {
    // The run resumes from its last checkpoint.
    let _ = child.kill();
}

/// The error that the child printed, or else its exit status.
fn reason(status: ExitStatus, log: &Path, begin: u64) -> String {
    let mut printed = Vec::new();
    let _ = File::open(log).and_then(|mut file| {
        file.seek(SeekFrom::Start(begin))?;
        file.read_to_end(&mut printed)
    });
    let printed = String::from_utf8_lossy(&printed);
    let error = printed
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("error: "));
    error.map_or_else(|| status.to_string(), str::to_owned)
}
