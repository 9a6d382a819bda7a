//! The steps between which a simulated process can end: the node's named crash points, and
//! those of its storage.

use std::{cell::RefCell, panic::resume_unwind};

use infernet_node::{
    crash,
    log::{
        Durability, EventLog, Head, Keeper, LogError, LogReader, MemoryKeeper, MemoryLog,
        MemoryReader, Record, Retention, Snapshot, Space, Stored, Upkeep,
    },
};
use infernet_state::types::{PayloadAt, Seq};

/// What a simulated crash unwinds with.
pub(crate) struct Crash;

/// How a step ends badly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum How {
    /// The process is gone.
    Crash,
    /// The storage says that it failed; anywhere else the process is gone.
    Fail,
}

#[derive(Default)]
struct Steps {
    passed: u64,
    bad: Option<(u64, How)>,
    names: Vec<&'static str>,
    happened: u64,
    /// Looks at the space.
    looks: u64,
}

thread_local! {
    static STEPS: RefCell<Steps> = RefCell::default();
}

/// A new run: no step passed yet.
pub(crate) fn reset() {
    // Another test of this process may have passed a point already: then the watch is its.
    let _ = crash::watch(pass);
    STEPS.with_borrow_mut(|steps| *steps = Steps::default());
}

/// The step `after` the present one (0: the next) ends badly.
pub(crate) fn arm(after: u64, how: How) {
    STEPS.with_borrow_mut(|steps| steps.bad = Some((steps.passed + after, how)));
}

/// Whether a step to come ends badly.
pub(crate) fn is_armed() -> bool {
    STEPS.with_borrow(|steps| steps.bad.is_some())
}

/// The names of the steps passed, in order.
pub(crate) fn names() -> Vec<&'static str> {
    STEPS.with_borrow(|steps| steps.names.clone())
}

/// How many steps of this run ended badly.
pub(crate) fn happened() -> u64 {
    STEPS.with_borrow(|steps| steps.happened)
}

fn take(name: &'static str) -> Option<How> {
    STEPS.with_borrow_mut(|steps| {
        let how = steps
            .bad
            .filter(|(at, _)| *at == steps.passed)
            .map(|(_, how)| how);
        steps.passed += 1;
        steps.names.push(name);
        if how.is_some() {
            steps.bad = None;
            steps.happened += 1;
        }
        how
    })
}

fn pass(name: &'static str) {
    if take(name).is_some() {
        resume_unwind(Box::new(Crash));
    }
}

fn pass_storage(name: &'static str) -> Result<(), LogError> {
    match take(name) {
        None => Ok(()),
        Some(How::Crash) => resume_unwind(Box::new(Crash)),
        Some(How::Fail) => Err(LogError::Storage {
            action: "write",
            reason: "simulated".to_owned(),
        }),
    }
}

/// A log that fails, or takes its process along, before or after a batch is durable.
pub(crate) struct FaultyLog(MemoryLog);

/// Its reader: reading a log at start is a step too.
#[derive(Clone)]
pub(crate) struct FaultyReader(pub(crate) MemoryReader);

impl FaultyLog {
    pub(crate) fn reopen(reader: &MemoryReader) -> Self {
        Self(MemoryLog::reopen(reader))
    }
}

impl EventLog for FaultyLog {
    type Reader = FaultyReader;

    fn durability(&self) -> Durability {
        self.0.durability()
    }

    fn head(&self) -> Head {
        self.0.head()
    }

    fn append(&mut self, batch: &[Record]) -> Result<Head, LogError> {
        pass_storage("log.before-durable")?;
        let head = self.0.append(batch)?;
        pass_storage("log.after-durable")?;
        Ok(head)
    }

    fn reader(&self) -> FaultyReader {
        FaultyReader(self.0.reader())
    }
}

/// Its keeper: what it does beside the loop are steps too.
#[derive(Clone)]
pub(crate) struct FaultyKeeper(MemoryKeeper);

impl Upkeep for FaultyLog {
    type Keeper = FaultyKeeper;

    fn keeper(&self) -> FaultyKeeper {
        FaultyKeeper(self.0.keeper())
    }

    fn adopt(&mut self, closed: Snapshot) -> Result<bool, LogError> {
        pass_storage("log.before-adopt")?;
        let adopted = self.0.adopt(closed)?;
        pass_storage("log.adopted")?;
        Ok(adopted)
    }

    /// Every fourth look finds no room.
    fn retain(
        &mut self,
        retention: &Retention,
        needed_from: &dyn Fn() -> Seq,
    ) -> Result<Space, LogError> {
        pass_storage("log.look")?;
        let looks = STEPS.with_borrow_mut(|steps| {
            steps.looks += 1;
            steps.looks
        });
        Ok(Space {
            intake_stopped: looks.is_multiple_of(4).then(|| "simulated".to_owned()),
            ..self.0.retain(retention, needed_from)?
        })
    }
}

impl Keeper for FaultyKeeper {
    type Closed = Snapshot;

    /// Now and then the bytes are not what was written.
    fn newest_snapshot(&self, before: Seq) -> Result<Option<Snapshot>, LogError> {
        pass_storage("log.read-snapshot")?;
        let mut found = self.0.newest_snapshot(before)?;
        if let Some(snapshot) = &mut found
            && snapshot.head.seq.0 % 5 == 0
        {
            let middle = snapshot.bytes.len() / 2;
            snapshot.bytes[middle] ^= 1;
        }
        Ok(found)
    }

    fn save_snapshot(&self, snapshot: &Snapshot) -> Result<(), LogError> {
        pass_storage("log.before-snapshot")?;
        self.0.save_snapshot(snapshot)?;
        pass_storage("log.after-snapshot")
    }

    fn close(&self, snapshot: &Snapshot) -> Result<Option<Snapshot>, LogError> {
        pass_storage("log.before-close")?;
        let closed = self.0.close(snapshot)?;
        pass_storage("log.closed")?;
        Ok(closed)
    }

    fn erase_before(&self, seq: Seq) -> Result<(), LogError> {
        pass_storage("log.before-erase")?;
        self.0.erase_before(seq)?;
        pass_storage("log.erased")
    }
}

impl LogReader for FaultyReader {
    fn head(&self) -> Head {
        self.0.head()
    }

    fn read(&self, from: Seq, limit: usize) -> Result<Vec<Stored>, LogError> {
        pass_storage("log.read")?;
        self.0.read(from, limit)
    }

    fn payload(&self, at: PayloadAt) -> Result<Option<Vec<u8>>, LogError> {
        self.0.payload(at)
    }
}
