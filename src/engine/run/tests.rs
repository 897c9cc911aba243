//! What the loop is told when the engine itself fails.

use super::*;

fn entry() -> Entry {
    Entry {
        key: Digest::of(b"key"),
        kind: "sum".to_owned(),
        kind_version: 1,
        outputs: Vec::new(),
        seconds: 0.0,
        cpu_seconds: None,
        peak_memory_bytes: None,
        threads: 1,
        warnings: Vec::new(),
    }
}

#[test]
fn panics_of_execution_and_commit_are_told_to_the_loop() {
    let (sender, receiver) = mpsc::channel();
    tell_ends(7, &sender, (), |()| panic!("out of order"), |()| Ok(()));
    let Ok(TaskMessage::Ended(7, Err(End::Failed(failure)))) = receiver.recv() else { panic!("no end") };
    assert!(failure.error.message.ends_with("out of order"), "{}", failure.error);
    assert!(failure.error.help.is_some_and(|help| help.contains("bug")));
    assert!(receiver.try_recv().is_err(), "nothing is committed");

    tell_ends(7, &sender, (), |()| Ok(entry()), |()| panic!("out of order"));
    assert!(matches!(receiver.recv(), Ok(TaskMessage::Ended(7, Ok(_)))));
    let Ok(TaskMessage::Committed(Err(EngineError::Panicked(text)))) = receiver.recv() else { panic!("no end") };
    assert_eq!(text, "out of order");
}
