//! One child process: started, waited for, and asked to end when the sweep is.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use crate::Result;
use crate::error::io;

/// How often a child is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Exit code of a run that was stopped and can go on.
const STOPPED: i32 = 130;

/// How a child ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    Done,
    Stopped,
    Failed(String),
}

/// Runs `command` to its end with its output added to `log`. When `stop` is set the child is asked to end as by SIGTERM, and
/// has the time that it needs to save.
pub(crate) fn run(command: &mut Command, log: &Path, stop: &AtomicBool) -> Result<Ended> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(log)
        .map_err(io("open", log))?;
    let begin = file.metadata().map_err(io("read", log))?.len();
    let both = file.try_clone().map_err(io("open", log))?;
    command.stdin(Stdio::null()).stdout(both).stderr(file);
    // Ctrl-C on a terminal goes to the whole group of processes; a child that got it twice would end without saving.
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
        sleep(LOOK);
    };
    Ok(match status.code() {
        Some(0) => Ended::Done,
        Some(STOPPED) => Ended::Stopped,
        _ if asked => Ended::Stopped,
        _ => Ended::Failed(reason(status, log, begin)),
    })
}

/// Asks the child to end when this thread is gone, as where the sweep was killed.
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
    // SAFETY: system calls only between fork and exec, no memory is asked for.
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
    // Its last checkpoint is what it goes on from.
    let _ = child.kill();
}

/// The child's own error, if it has said one, else how it ended.
fn reason(status: ExitStatus, log: &Path, begin: u64) -> String {
    let said = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        file.seek(SeekFrom::Start(begin))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let said = said().unwrap_or_default();
    let error = said.lines().rev().find_map(|line| line.strip_prefix("error: "));
    match error {
        Some(error) => error.to_owned(),
        None => status.to_string(),
    }
}
