//! Worker processes as the engine sees them: started when needed, kept warm for the next stage, ended with the run.
//! The other side is [`super::serve`].

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::environment::missing;
use super::process;
use super::stage::{Job, Notice, StageError};

/// How long a worker that closed its output may take to end.
const GRACE: Duration = Duration::from_secs(2);

/// What a worker writes on standard output, one JSON line each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Message {
    Notice(Notice),
    Done { error: Option<StageError>, usage: Usage },
}

/// What an execution cost.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Usage {
    pub cpu_seconds: f64,
    /// Known for worker processes only.
    pub peak_memory_bytes: Option<u64>,
}

/// Workers of one run.
pub(super) struct WorkerPool {
    program: PathBuf,
    idle: Mutex<Vec<Worker>>,
    /// Every worker that has not been waited for.
    live: Mutex<Vec<Arc<Mutex<Child>>>>,
}

struct Worker {
    child: Arc<Mutex<Child>>,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    stderr: Receiver<String>,
}

impl WorkerPool {
    pub fn new(program: PathBuf) -> Self {
        Self { program, idle: Mutex::default(), live: Mutex::default() }
    }

    /// Runs a job in a warm worker, or in a new one. The worker is kept if it did not fail.
    pub fn run(&self, job: &Job, notify: &(dyn Fn(Notice) + Sync)) -> Result<Usage, StageError> {
        let warm = lock(&self.idle).pop();
        let mut worker = match warm {
            Some(worker) => worker,
            None => self.start().map_err(|error| missing(&self.program, &error))?,
        };
        match worker.run(job, notify) {
            Ok(Some((None, usage))) => {
                lock(&self.idle).push(worker);
                Ok(usage)
            }
            Ok(Some((Some(error), _))) => {
                self.end(worker, notify);
                Err(error)
            }
            Ok(None) | Err(_) => {
                let status = self.end(worker, notify);
                Err(died(status))
            }
        }
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
        self.each(Child::kill);
    }

    fn each(&self, act: impl Fn(&mut Child) -> io::Result<()>) {
        for child in lock(&self.live).iter() {
            let mut child = lock(child);
            if matches!(child.try_wait(), Ok(None)) {
                // It may end just now by itself, which is as good.
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
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for_each_line(BufReader::new(stderr), |line| {
                // Nobody listens any more once the worker has been given up.
                let _ = sender.send(line);
            })
        });
        let child = Arc::new(Mutex::new(child));
        lock(&self.live).push(Arc::clone(&child));
        Ok(Worker { child, stdin, stdout: BufReader::new(stdout), stderr: lines })
    }

    /// Ends a worker and passes on what it said last. Answers how it ended, if by itself.
    fn end(&self, worker: Worker, notify: &(dyn Fn(Notice) + Sync)) -> Option<ExitStatus> {
        let Worker { child, stdin, stdout, stderr } = worker;
        // A worker ends when nobody can give it work any more.
        drop((stdin, stdout));
        let status = wait(&child);
        lock(&self.live).retain(|live| !Arc::ptr_eq(live, &child));
        while let Ok(line) = stderr.recv_timeout(GRACE) {
            notify(Notice::Log(line));
        }
        status
    }
}

impl Drop for WorkerPool {
    fn drop(&mut self) {
        lock(&self.idle).clear();
        for child in lock(&self.live).drain(..) {
            wait(&child);
        }
    }
}

impl Worker {
    /// The end of the job, or `None` when the worker ended before. Lines that are no messages are log lines, since
    /// libraries print where they like.
    fn run(&mut self, job: &Job, notify: &(dyn Fn(Notice) + Sync)) -> io::Result<Option<(Option<StageError>, Usage)>> {
        let mut line = serde_json::to_string(job)?;
        line.push('\n');
        self.stdin.write_all(line.as_bytes())?;
        let mut buffer = Vec::new();
        loop {
            buffer.clear();
            if self.stdout.read_until(b'\n', &mut buffer)? == 0 {
                return Ok(None);
            }
            self.stderr.try_iter().for_each(|line| notify(Notice::Log(line)));
            match serde_json::from_slice(&buffer) {
                Ok(Message::Notice(notice)) => notify(notice),
                Ok(Message::Done { error, usage }) => return Ok(Some((error, usage))),
                Err(_) => notify(Notice::Log(String::from_utf8_lossy(&buffer).trim_end().to_owned())),
            }
        }
    }
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

fn died(status: Option<ExitStatus>) -> StageError {
    use std::os::unix::process::ExitStatusExt;

    let Some(status) = status else {
        return StageError::new("the worker process stopped answering and was killed");
    };
    let error =
        StageError::new(format!("the worker process ended before the stage did: {}", process::describe(status)));
    match status.signal() {
        Some(libc::SIGKILL) => error.with_help(
            "the system does this when memory runs out (`dmesg` tells): use fewer --jobs, or a smaller batch or dimension",
        ),
        _ => error,
    }
}
