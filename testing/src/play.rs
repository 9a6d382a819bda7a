//! Plays random sequences on a [`Twin`], and shrinks what goes wrong.

use std::fmt::Write;

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use crate::{
    evm::Build,
    model::{Coverage, Rules},
    node::{self, Happened, Weather},
    strategies::actions::{Sequence, sequence},
    twin::{Mismatch, Step, Twin},
};

/// How many simpler versions of a failing sequence are tried: enough to be readable, seconds to try.
const SIMPLER_MAX: usize = 1_000;

/// What a run of sequences came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Sequences played.
    pub sequences: u64,
    /// Calls accepted.
    pub accepted: u64,
    /// Calls refused.
    pub refused: u64,
    /// The branches taken.
    pub coverage: Coverage,
}

impl Report {
    fn add(&mut self, twin: &Twin) {
        let (accepted, refused) = twin.counts();
        self.sequences += 1;
        self.accepted += accepted;
        self.refused += refused;
        self.coverage.merge(twin.coverage());
    }

    /// Adds what another run came to.
    pub fn merge(&mut self, other: &Self) {
        self.sequences += other.sequences;
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.coverage.merge(&other.coverage);
    }
}

/// A sequence on which model and contracts disagree, as small as it could be made.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The sequence.
    pub sequence: Sequence,
    /// The steps that it came to; the last one shows the disagreement.
    pub steps: Vec<Step>,
    /// What the machine was told, each after how many steps; empty where none plays.
    pub recorded: Vec<(usize, String)>,
    /// The disagreement.
    pub mismatch: Mismatch,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        let mut recorded = self.recorded.iter().peekable();
        for number in 0..=self.steps.len() {
            while let Some((_, event)) = recorded.next_if(|(after, _)| *after <= number) {
                writeln!(text, "          {event}")?;
            }
            if let Some(step) = self.steps.get(number) {
                writeln!(text, "{number:>4}  {step:?}")?;
            }
        }
        write!(f, "{:?}\n{text}{}", self.sequence.start, self.mismatch)
    }
}

impl std::error::Error for Failure {}

/// Plays one sequence from its start, and compares everything at its end.
///
/// # Errors
/// [`Failure`] where model and contracts disagree.
pub fn play(sequence: &Sequence, rules: &'static dyn Rules) -> Result<Twin, Box<Failure>> {
    let mut steps = Vec::new();
    let failure = |steps: Vec<Step>, mismatch| {
        Box::new(Failure {
            sequence: sequence.clone(),
            steps,
            recorded: Vec::new(),
            mismatch,
        })
    };
    let mut twin = sequence
        .start
        .twin(rules)
        .map_err(|mismatch| failure(Vec::new(), mismatch))?;
    let mut calls = 0;
    for action in &sequence.actions {
        if calls == sequence.calls {
            break;
        }
        let Some(step) = action.resolve(&twin.model, &twin.cast) else {
            continue;
        };
        calls += usize::from(matches!(step, Step::Call { .. }));
        steps.push(step.clone());
        if let Err(mismatch) = twin.step(&step) {
            return Err(failure(steps, mismatch));
        }
    }
    match twin.compare_all() {
        Ok(()) => Ok(twin),
        Err(mismatch) => Err(failure(steps, mismatch)),
    }
}

/// A series of random sequences; the same series is always the same sequences.
#[derive(Clone, Copy, Debug)]
pub struct Series {
    /// What the model decides by.
    pub rules: &'static dyn Rules,
    /// Which contracts; each sequence's own choice of this project's builds if `None`.
    pub build: Option<Build>,
    /// Which series.
    pub seed: u64,
    /// How many sequences.
    pub cases: u32,
    /// How many calls each has.
    pub calls: usize,
}

impl Series {
    /// Plays all sequences.
    ///
    /// # Errors
    /// The first [`Failure`], shrunk.
    pub fn play(&self) -> Result<Report, Box<Failure>> {
        let mut report = Report::default();
        let (strategy, mut runner) = (self.strategy(), runner(self.seed));
        for _ in 0..self.cases {
            let tree = strategy
                .new_tree(&mut runner)
                .expect("sequences can always be made");
            match play(&tree.current(), self.rules) {
                Ok(twin) => report.add(&twin),
                Err(found) => return Err(shrink(tree, &|it| play(it, self.rules).err(), found)),
            }
        }
        Ok(report)
    }

    /// Plays all sequences with the node's machine as one of the nodes, in this weather.
    ///
    /// # Errors
    /// The first [`Failure`], shrunk.
    pub fn play_machine(&self, weather: Weather) -> Result<(Report, Happened), Box<Failure>> {
        let (mut report, mut happened) = (Report::default(), Happened::default());
        let (strategy, mut runner) = (self.strategy(), runner(self.seed));
        for _ in 0..self.cases {
            let tree = strategy
                .new_tree(&mut runner)
                .expect("sequences can always be made");
            match node::play(&tree.current(), self.rules, weather) {
                Ok(node) => {
                    report.add(&node.twin);
                    happened.merge(&node.happened);
                }
                Err(found) => {
                    let fails = |it: &Sequence| node::play(it, self.rules, weather).err();
                    return Err(shrink(tree, &fails, found));
                }
            }
        }
        Ok((report, happened))
    }

    /// Plays all sequences with the node's machine in this weather, whatever happens: by the number of each that fails,
    /// how it was found.
    #[must_use]
    pub fn failures_of_machine(&self, weather: Weather) -> Vec<(u32, Box<Failure>)> {
        let (strategy, mut runner) = (self.strategy(), runner(self.seed));
        let fails = |case| {
            let tree = strategy.new_tree(&mut runner).ok()?;
            let end = node::play(&tree.current(), self.rules, weather);
            end.err().map(|failure| (case, failure))
        };
        (1..=self.cases).filter_map(fails).collect()
    }

    /// The first failure, as it was found, and how many sequences it took.
    #[must_use]
    pub fn first_failure(&self) -> Option<(u32, Box<Failure>)> {
        let (strategy, mut runner) = (self.strategy(), runner(self.seed));
        (1..=self.cases).find_map(|case| {
            let tree = strategy.new_tree(&mut runner).ok()?;
            play(&tree.current(), self.rules)
                .err()
                .map(|failure| (case, failure))
        })
    }

    fn strategy(&self) -> impl Strategy<Value = Sequence> + use<> {
        let build = self.build;
        sequence(self.calls).prop_map(move |mut sequence| {
            sequence.start.build = build.unwrap_or(sequence.start.build);
            sequence
        })
    }
}

fn runner(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    TestRunner::new_with_rng(
        Config {
            failure_persistence: None,
            ..Config::default()
        },
        rng,
    )
}

/// How a sequence fails, if it does.
type Fails<'a> = &'a dyn Fn(&Sequence) -> Option<Box<Failure>>;

/// Makes a failing sequence smaller: leaves out whatever it fails without, then makes simpler what is left.
fn shrink(
    tree: impl ValueTree<Value = Sequence>,
    fails: Fails<'_>,
    found: Box<Failure>,
) -> Box<Failure> {
    let mut best = simplify(tree, fails, found);
    let mut at = best.sequence.actions.len();
    while at > 0 {
        at -= 1;
        let mut sequence = best.sequence.clone();
        sequence.actions.remove(at);
        if let Some(smaller) = fails(&sequence) {
            best = smaller;
            at = at.min(best.sequence.actions.len());
        }
    }
    best
}

/// Lets proptest make the values of a failing sequence simpler.
fn simplify(
    mut tree: impl ValueTree<Value = Sequence>,
    fails: Fails<'_>,
    found: Box<Failure>,
) -> Box<Failure> {
    let mut best = found;
    let mut more = tree.simplify();
    for _ in 0..SIMPLER_MAX {
        if !more {
            break;
        }
        match fails(&tree.current()) {
            Some(simpler) => {
                best = simpler;
                more = tree.simplify();
            }
            None => more = tree.complicate(),
        }
    }
    best
}
