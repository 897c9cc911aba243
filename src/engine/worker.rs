//! Worker processes as the engine sees them: started when needed, kept warm for the next stage, ended with the run.
//! The other side is [`super::serve`].

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::environment::missing;
use super::stage::{Job, Notice, StageError};
use super::{limits, process};

/// How long a worker that closed its output may take to end.
const GRACE: Duration = Duration::from_secs(2);

/// What a worker writes on standard output, one JSON line each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WorkerMessage {
    /// The job has been read. A worker that ends before this has not begun it.
    Started,
    Notice(Notice),
    Done {
        error: Option<StageError>,
        usage: Usage,
    },
}

/// What an execution cost.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Usage {
    /// Known for worker processes only, as are the others: stages in this process share its threads.
    pub cpu_seconds: Option<f64>,
    pub peak_memory_bytes: Option<u64>,
    /// On which it computed, if it said so.
    #[serde(default)]
    pub device: Option<String>,
}

/// Workers of one run.
pub(super) struct WorkerPool {
    program: PathBuf,
    idle: Mutex<Vec<Worker>>,
    /// Every worker that has not been waited for.
    live: Mutex<Vec<Arc<Mutex<Child>>>>,
    /// They were killed, and so is whatever starts now.
    killed: AtomicBool,
}

struct Worker {
    child: Arc<Mutex<Child>>,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    stderr: Receiver<String>,
    /// It has run another job before.
    warm: bool,
}

/// The end of a worker before that of its job.
struct WorkerLost {
    /// It had begun with the job.
    started: bool,
    /// What was wrong with the pipes, if they did not just end.
    error: Option<io::Error>,
}

impl WorkerPool {
    pub fn new(program: PathBuf) -> Self {
        Self { program, idle: Mutex::default(), live: Mutex::default(), killed: AtomicBool::new(false) }
    }

    /// Runs a job in a warm worker, or in a new one. The worker is kept if it did not fail; one that ended while it
    /// had nothing to do is replaced.
    pub fn run(&self, job: &Job, notify: &(dyn Fn(Notice) + Sync)) -> Result<Usage, StageError> {
        let job = encode(job)?;
        loop {
            let warm = lock(&self.idle).pop();
            let mut worker = match warm {
                Some(worker) => worker,
                None => self.start().map_err(|error| missing(&self.program, &error))?,
            };
            match worker.run(&job, notify) {
                Ok((None, usage)) => {
                    worker.warm = true;
                    lock(&self.idle).push(worker);
                    return Ok(usage);
                }
                Ok((Some(error), _)) => {
                    self.end(worker, notify);
                    return Err(error);
                }
                Err(gone) => {
                    let replace = worker.warm && !gone.started;
                    let (status, last) = self.end(worker, notify);
                    if !replace {
                        return Err(died(status, gone.error, &last));
                    }
                    let how = status.map_or_else(|| "stopped answering".to_owned(), process::describe);
                    notify(Notice::Log(format!(
                        "a worker that had nothing to do has ended ({how}); another is started"
                    )));
                }
            }
        }
    }

    /// Ends the workers that have nothing to do.
    pub fn dismiss(&self) {
        // A worker ends when its standard input is closed.
        lock(&self.idle).clear();
    }

    /// Asks every worker to end.
    pub fn terminate(&self) {
        self.each(|child| {
            process::terminate(child);
            Ok(())
        });
    }

    /// Ends every worker at once.
    pub fn kill(&self) {
        self.killed.store(true, Ordering::SeqCst);
        self.each(Child::kill);
    }

    fn each(&self, act: impl Fn(&mut Child) -> io::Result<()>) {
        for child in lock(&self.live).iter() {
            let mut child = lock(child);
            if matches!(child.try_wait(), Ok(None)) {
                // It may have ended by itself in the meantime; the result is the same.
                let _ = act(&mut child);
            }
        }
    }

    fn start(&self) -> io::Result<Worker> {
        let mut child = Command::new(&self.program)
            // Our own threads do the work; libtorch's would make results depend on their number.
            .env("OMP_NUM_THREADS", "1")
            .env("MKL_NUM_THREADS", "1")
            // Out of reach of the terminal's Ctrl-C: the engine decides when workers end.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("its pipes are not there"));
        };
        let child = Arc::new(Mutex::new(child));
        lock(&self.live).push(Arc::clone(&child));
        if self.killed.load(Ordering::SeqCst) {
            self.kill();
        }
        let (sender, lines) = mpsc::channel();
        let listen = move || {
            for_each_line(BufReader::new(stderr), |line| {
                // Nobody listens any more once the worker has been given up.
                let _ = sender.send(line);
            })
        };
        if let Err(error) = thread::Builder::new().spawn(listen) {
            drop((stdin, stdout));
            self.bury(&child);
            return Err(error);
        }
        Ok(Worker { child, stdin, stdout: BufReader::new(stdout), stderr: lines, warm: false })
    }

    /// Waits for a worker that cannot be given work any more.
    fn bury(&self, child: &Arc<Mutex<Child>>) -> Option<ExitStatus> {
        let status = wait(child);
        lock(&self.live).retain(|live| !Arc::ptr_eq(live, child));
        status
    }

    /// Ends a worker and passes on what it said last. Answers how it ended, if by itself, and these lines.
    fn end(&self, worker: Worker, notify: &(dyn Fn(Notice) + Sync)) -> (Option<ExitStatus>, Vec<String>) {
        let Worker { child, stdin, stdout, stderr, .. } = worker;
        drop((stdin, stdout));
        let status = self.bury(&child);
        let mut last = Vec::new();
        while let Ok(line) = stderr.recv_timeout(GRACE) {
            last.push(line.clone());
            notify(Notice::Log(line));
        }
        (status, last)
    }
}

impl Drop for WorkerPool {
    fn drop(&mut self) {
        self.dismiss();
        for child in lock(&self.live).drain(..) {
            wait(&child);
        }
    }
}

impl Worker {
    /// The end of the job. Lines that are no messages are log lines, since libraries print where they like.
    fn run(&mut self, job: &[u8], notify: &(dyn Fn(Notice) + Sync)) -> Result<(Option<StageError>, Usage), WorkerLost> {
        let mut started = false;
        if let Err(error) = self.stdin.write_all(job) {
            return Err(WorkerLost { started, error: Some(error) });
        }
        let mut buffer = Vec::new();
        loop {
            buffer.clear();
            match self.stdout.read_until(b'\n', &mut buffer) {
                Ok(0) => return Err(WorkerLost { started, error: None }),
                Ok(_) => {}
                Err(error) => return Err(WorkerLost { started, error: Some(error) }),
            }
            self.stderr.try_iter().for_each(|line| notify(Notice::Log(line)));
            match serde_json::from_slice(&buffer) {
                Ok(WorkerMessage::Started) => started = true,
                Ok(WorkerMessage::Notice(notice)) => notify(notice),
                Ok(WorkerMessage::Done { error, usage }) => return Ok((error, usage)),
                Err(_) => notify(Notice::Log(String::from_utf8_lossy(&buffer).trim_end().to_owned())),
            }
        }
    }
}

/// A job as a line.
fn encode(job: &Job) -> Result<Vec<u8>, StageError> {
    let mut line = serde_json::to_vec(job).map_err(|error| {
        StageError::new(format!("the stage cannot be handed to a worker: {error}"))
            .with_help("paths of the cache and of raw files have to be UTF-8 for stages that run in a worker")
    })?;
    line.push(b'\n');
    Ok(line)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lines of anything, whatever its encoding, until it ends.
fn for_each_line(mut reader: impl BufRead, mut act: impl FnMut(String)) {
    let mut buffer = Vec::new();
    while reader.read_until(b'\n', &mut buffer).is_ok_and(|read| read > 0) {
        act(String::from_utf8_lossy(&buffer).trim_end().to_owned());
        buffer.clear();
    }
}

/// Waits for a worker to end by itself and kills it after the grace. Never holds the lock while waiting, so that
/// others can end it meanwhile.
fn wait(child: &Mutex<Child>) -> Option<ExitStatus> {
    let deadline = Instant::now() + GRACE;
    loop {
        if let Ok(Some(status)) = lock(child).try_wait() {
            return Some(status);
        }
        if Instant::now() >= deadline {
            let mut child = lock(child);
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

const MEMORY: &str = "use fewer --jobs, or a smaller batch or dimension";

/// How the message of the standard library begins when an allocation fails.
const NO_MEMORY: &str = "memory allocation of ";

/// Why a worker ended before its job: `last` are the last lines that it wrote.
fn died(status: Option<ExitStatus>, error: Option<io::Error>, last: &[String]) -> StageError {
    use std::os::unix::process::ExitStatusExt;

    // A broken pipe is how its end shows here.
    if let Some(error) = error.filter(|error| error.kind() != io::ErrorKind::BrokenPipe) {
        return StageError::new(format!("cannot talk to the worker process: {error}"));
    }
    let Some(status) = status else {
        return StageError::new("the worker process stopped answering and was killed");
    };
    if let Some(line) = last.iter().find(|line| line.starts_with(NO_MEMORY)) {
        return StageError::new(format!("the worker process ran out of memory: {line}")).with_help(MEMORY);
    }
    let error =
        StageError::new(format!("the worker process ended before the stage did: {}", process::describe(status)));
    let help = match status.signal() {
        Some(libc::SIGKILL) => Some(format!("the system does this when memory runs out (`dmesg` tells): {MEMORY}")),
        _ => last.iter().find_map(|line| limits::advice(line)).map(str::to_owned),
    };
    match help {
        Some(help) => error.with_help(help),
        None => error,
    }
}
