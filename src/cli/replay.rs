//! `infernet replay`

use infernet_state::{Machine, codec, types::Seq};

use super::{ReplayArgs, out::put};
use crate::{
    driver::{self, Fatal},
    log::{EventLog as _, LogError, LogReader as _, Options, SledLog},
    node::NodeError,
};

pub(super) fn run(args: ReplayArgs) -> Result<(), NodeError> {
    let log = SledLog::open(&args.data_dir, &Options::existing()).map_err(Fatal::Log)?;
    let reader = log.reader();
    let last = reader.head().seq;
    let to = args.to.map_or(last, Seq);
    if to > last {
        return Err(Fatal::Log(LogError::Missing { seq: to, last }).into());
    }
    let mut machine = Machine::new();
    let mut hash = reader.head().hash;
    'log: while machine.seq() < to {
        let chunk = reader
            .read(Seq(machine.seq().0 + 1), driver::REPLAY_CHUNK)
            .map_err(Fatal::Log)?;
        if chunk.is_empty() {
            break;
        }
        for stored in chunk {
            let event = codec::decode(stored.event.kind, stored.event.version, &stored.event.body)
                .map_err(Fatal::Codec)?;
            let effects = machine.apply(&event).map_err(Fatal::Halt)?;
            hash = stored.hash;
            if !args.quiet {
                put!("{:>6}  {event}", stored.seq)?;
                for issued in effects {
                    put!("        → {issued}")?;
                }
            }
            if stored.seq == to {
                break 'log;
            }
        }
    }
    put!("{} events", machine.seq())?;
    put!("head hash    {hash}")?;
    put!("state digest {}", machine.digest())
}
