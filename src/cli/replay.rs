//! `infernet replay`

use std::{
    io::{self, IsTerminal as _, Write as _},
    ops::ControlFlow,
};

use infernet_state::{Event, Machine, types::Seq};

use super::{ReplayArgs, error::CliError, out::Out, past};
use crate::{
    audit::{Moment, Past, Replay, Step, Subject, difference, explain, portrait, statement, utc},
    log::{Head, LogError},
};

pub(super) fn run(args: ReplayArgs) -> Result<(), CliError> {
    let past = past(args.file.as_deref(), args.data_dir.as_deref())?;
    let mut out = Out::new();
    let to = args.to.map(Seq);
    if let Some(&[from, to]) = args.statement.as_deref() {
        books(&past, from, to, args.to, args.json, &mut out)?;
        return out.finish();
    }
    match (args.explain, args.diff.as_deref(), args.breakpoint) {
        (Some(subject), _, _) => story(&past, subject, to, &mut out)?,
        (None, Some(&[a, b]), _) => between(&past, Seq(a), Seq(b), &mut out)?,
        (None, _, Some(at)) => breaking(&past, Seq(at), &mut out, args.quiet)?,
        (None, _, None) => all(&past, to, &mut out, args.quiet)?,
    }
    out.finish()
}

/// Every event in words, then the digest of the state.
fn all(past: &Past, to: Option<Seq>, out: &mut Out, quiet: bool) -> Result<(), CliError> {
    let replay = past.replay(to, |moment| {
        show(out, moment, quiet);
        go_on(out)
    })?;
    if out.is_open() {
        end(out, &replay);
    }
    Ok(())
}

/// A reader that went away wants no more.
fn go_on(out: &Out) -> ControlFlow<()> {
    if out.is_open() {
        ControlFlow::Continue(())
    } else {
        ControlFlow::Break(())
    }
}

/// Shows a moment: where the replay begins, or an event with what it led to.
fn show(out: &mut Out, moment: Moment<'_>, quiet: bool) {
    match moment {
        Moment::Begun(replay) if replay.base.seq > Seq(0) => out.say(format!(
            "the events up to {} are not here: this begins with the snapshot of the state behind \
             them",
            replay.base.seq
        )),
        Moment::Begun(_) => {}
        Moment::Passed(step) if !quiet => event(out, &step),
        Moment::Passed(_) => {}
    }
}

fn event(out: &mut Out, step: &Step<'_>) {
    let time = utc(step.machine.now().0 / 1_000);
    out.say(format!("{:>6}  {time}  {}", step.stored.seq, step.event));
    for issued in step.effects {
        out.say(format!("        → {issued}"));
    }
    // A start issues nothing: what had not ended is handed out again.
    if matches!(step.event, Event::NodeStarted { .. }) {
        for issued in step.machine.outstanding() {
            out.say(format!("        → again {issued}"));
        }
    }
}

/// Count, head and digest: the same for a directory and for an export of it.
fn end(out: &mut Out, replay: &Replay) {
    out.say(format!("{} events", replay.head.seq));
    out.say(format!("head hash    {}", replay.head.hash));
    out.say(format!("state digest {}", replay.machine.digest()));
}

/// What differs between two moments.
fn between(past: &Past, a: Seq, b: Seq, out: &mut Out) -> Result<(), CliError> {
    let (from, to) = (a.min(b), a.max(b));
    let mut earlier: Option<Replay> = None;
    let later = past.replay(Some(to), |moment| {
        show(out, moment, true);
        match moment {
            Moment::Begun(replay) if replay.base.seq == from => earlier = Some(replay.clone()),
            Moment::Passed(step) if step.stored.seq == from => {
                earlier = Some(Replay {
                    machine: step.machine.clone(),
                    head: Head {
                        seq: from,
                        hash: step.stored.hash,
                    },
                    base: Head::default(),
                });
            }
            Moment::Begun(_) | Moment::Passed(_) => {}
        }
        ControlFlow::Continue(())
    })?;
    let Some(earlier) = earlier else {
        return Err(CliError::Log(LogError::Gone {
            seq: from,
            first: Seq(later.base.seq.0 + 1),
        }));
    };
    out.say(format!(
        "from the state behind event {from} to that behind event {to}"
    ));
    let lines = difference(&earlier.machine, &later.machine);
    if lines.is_empty() {
        out.say("  nothing differs");
    }
    lines.iter().for_each(|line| out.say(line));
    for replay in [&earlier, &later] {
        out.say(format!(
            "state digest behind event {}: {}",
            replay.head.seq,
            replay.machine.digest()
        ));
    }
    Ok(())
}

/// The story of a subject.
fn story(past: &Past, subject: Subject, to: Option<Seq>, out: &mut Out) -> Result<(), CliError> {
    explain(past, subject, to, |line| out.say(line))?;
    Ok(())
}

/// A statement of the books.
fn books(
    past: &Past,
    from: u64,
    to: u64,
    as_of: Option<u64>,
    json: bool,
    out: &mut Out,
) -> Result<(), CliError> {
    // There is no event 0.
    let (from, to) = (Seq(from.min(to).max(1)), Seq(from.max(to).max(1)));
    let as_of = as_of.map(|seq| Seq(seq).max(to));
    let books = statement(past, from, to, as_of)?;
    if json {
        out.say(books.json().to_string());
    } else {
        books.lines().iter().for_each(|line| out.say(line));
    }
    Ok(())
}

/// Stops behind an event and shows the state. On a terminal the replay goes on as it is told.
fn breaking(past: &Past, at: Seq, out: &mut Out, quiet: bool) -> Result<(), CliError> {
    let interactive = io::stdin().is_terminal() && io::stdout().is_terminal();
    if !interactive {
        let replay = past.replay(Some(at), |moment| {
            show(out, moment, quiet);
            go_on(out)
        })?;
        portrait(&replay.machine)
            .iter()
            .for_each(|line| out.say(line));
        end(out, &replay);
        return Ok(());
    }
    let mut stepper = Stepper {
        stop_at: Some(at),
        before: None,
    };
    let replay = past.replay(None, |moment| {
        let stops = match moment {
            Moment::Begun(replay) => replay.base.seq == at,
            Moment::Passed(step) => stepper.stop_at.is_some_and(|at| step.stored.seq >= at),
        };
        show(out, moment, quiet && !stops);
        if !stops {
            return ControlFlow::Continue(());
        }
        let machine = match moment {
            Moment::Begun(replay) => &replay.machine,
            Moment::Passed(step) => step.machine,
        };
        stepper.ask(machine, out)
    })?;
    end(out, &replay);
    Ok(())
}

/// A replay that somebody steps through.
struct Stepper {
    /// Where it stops next; `None` for nowhere.
    stop_at: Option<Seq>,
    /// The state at the last stop.
    before: Option<Machine>,
}

impl Stepper {
    /// Asks what to do at a stop.
    fn ask(&mut self, machine: &Machine, out: &mut Out) -> ControlFlow<()> {
        if self.before.is_none() {
            portrait(machine).iter().for_each(|line| out.say(line));
        }
        let flow = loop {
            out.flush();
            eprint!(
                "event {}: [enter] next, NUMBER run to it, s state, d what changed, c to the end, q quit > ",
                machine.seq()
            );
            let _ = io::stderr().flush();
            let mut answer = String::new();
            match io::stdin().read_line(&mut answer) {
                Ok(0) | Err(_) => break ControlFlow::Break(()),
                Ok(_) => {}
            }
            match answer.trim() {
                "" | "n" => {
                    self.stop_at = Some(Seq(machine.seq().0.saturating_add(1)));
                    break ControlFlow::Continue(());
                }
                "c" => {
                    self.stop_at = None;
                    break ControlFlow::Continue(());
                }
                "q" => break ControlFlow::Break(()),
                "s" => portrait(machine).iter().for_each(|line| out.say(line)),
                "d" => match &self.before {
                    Some(before) => difference(before, machine)
                        .iter()
                        .for_each(|line| out.say(line)),
                    None => out.say("  this is the first stop"),
                },
                other => match other.parse() {
                    Ok(seq) if Seq(seq) > machine.seq() => {
                        self.stop_at = Some(Seq(seq));
                        break ControlFlow::Continue(());
                    }
                    Ok(_) => out.say("  that event has passed; start again to go back"),
                    Err(_) => out.say("  ?"),
                },
            }
        };
        self.before = Some(machine.clone());
        flow
    }
}
