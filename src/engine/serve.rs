//! The worker's side of [`super::worker`]: jobs come in as JSON lines on standard input, messages go out as JSON
//! lines on standard output. The worker lives as long as its standard input is open, so it dies with its engine.

use std::env;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use super::environment::{Answer, FACETS_ARGUMENT, WorkerFacets};
use super::execute::catch;
use super::process;
use super::stage::{Job, Notice, RunFn, StageError};
use super::worker::{Usage, WorkerMessage};

/// Runs jobs until standard input ends. `table` has the function of every kind that this worker can run; `facets`
/// tells its environment.
pub fn serve(table: &[(&'static str, RunFn)], facets: fn() -> WorkerFacets) -> ExitCode {
    process::prepare();
    if env::args().nth(1).as_deref() == Some(FACETS_ARGUMENT) {
        let facets = facets();
        // Asked last: some libraries are loaded when they are first needed.
        let files = process::loaded_files().into_iter().map(|path| (path, None)).collect();
        let answer = serde_json::to_string(&Answer { facets, files });
        return match answer.map_err(io::Error::from).and_then(|line| write_line(&line)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failure(&error),
        };
    }
    process::die_with_parent();
    let (sender, jobs) = mpsc::channel();
    // In a thread of its own: the end of standard input must be seen while a job runs.
    let listener = thread::Builder::new().spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
        process::exit_now(0)
    });
    if let Err(error) = listener {
        return failure(&error);
    }
    for line in jobs {
        // From here on the end of this process is the job's.
        if send(&WorkerMessage::Started).is_err() {
            break;
        }
        process::reset_peak_memory();
        let before = process::process_cpu_seconds();
        let device = Mutex::new(None);
        let error = run(table, &line, &device).err();
        let usage = Usage {
            cpu_seconds: Some(process::process_cpu_seconds() - before),
            peak_memory_bytes: process::peak_memory_bytes(),
            device: device.into_inner().unwrap_or_else(PoisonError::into_inner),
        };
        if send(&WorkerMessage::Done { error, usage }).is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}

/// `device` becomes what the stage says that it computes on.
fn run(table: &[(&'static str, RunFn)], line: &str, device: &Mutex<Option<String>>) -> Result<(), StageError> {
    let job: Job = serde_json::from_str(line)
        .map_err(|error| StageError::new(format!("the worker does not understand its job: {error}")))?;
    let Some((_, run)) = table.iter().find(|(kind, _)| *kind == job.kind) else {
        let message = format!("the worker was built without stage kind `{}`", job.kind);
        return Err(StageError::new(message).with_help("build it with `cargo build --release --features torch`"));
    };
    let notify = |notice: Notice| {
        let notice = match notice {
            Notice::Progress(mut progress) => {
                // JSON has no way to write these.
                progress.values.retain(|(_, value)| value.is_finite());
                Notice::Progress(progress)
            }
            Notice::Device(name) => {
                *device.lock().unwrap_or_else(PoisonError::into_inner) = Some(name);
                return;
            }
            log => log,
        };
        // When nobody listens, standard input has ended as well, and with it this process.
        let _ = send(&WorkerMessage::Notice(notice));
    };
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(job.threads)
        .build()
        .map_err(|error| StageError::new(format!("cannot start {} threads: {error}", job.threads)))?;
    pool.install(|| catch(*run, &job, &notify))
}

/// The last words of a worker that cannot serve.
fn failure(error: &io::Error) -> ExitCode {
    // Without a reader there is nobody to tell.
    let _ = writeln!(io::stderr(), "the worker cannot serve: {error}");
    ExitCode::FAILURE
}

fn send(message: &WorkerMessage) -> io::Result<()> {
    write_line(&serde_json::to_string(message)?)
}

/// One write per line, so that lines of several threads do not mix.
fn write_line(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(format!("{line}\n").as_bytes())?;
    stdout.flush()
}
