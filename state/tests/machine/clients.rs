//! Clients' jobs: what is refused, how containers are called, what is reported from outside.

use crate::common::{act::spoiled, *};
use infernet_state::{
    Config, Effect, Event,
    admission::Reason,
    config::ClientId,
    effect::Location,
    event::{JobRequest, Outcome, ReportedStatus, Success},
    job::{Cause, Stage},
    limits::JOB_CONTAINERS_MAX,
    machine::{JobStatus, Refusal, Verdict},
    subscription::Standing,
    types::{Interval, JobId, SubscriptionId, WallTime},
};

const ID: JobId = JobId([1; 16]);

fn asked(containers: &[&str]) -> JobRequest {
    job(1, containers, WallTime(0))
}

/// Alpha is anybody's, delta is not for first calls, epsilon is for one client.
fn choosy() -> Config {
    let mut config = with_prover();
    let mut delta = container("delta");
    delta.external = false;
    let mut epsilon = container("epsilon");
    epsilon.allowed_clients = vec![ClientId([2; 16])];
    config.containers.extend([delta, epsilon]);
    config
}

/// `docs/spec/rest.md`, policy errors, in their order.
#[test]
fn a_job_is_refused_for_each_reason() {
    let world = World::new(choosy());
    let many = vec!["alpha"; JOB_CONTAINERS_MAX];
    let one_more = vec!["alpha"; JOB_CONTAINERS_MAX + 1];
    let at = |id: &str| id.to_owned();
    for (containers, proof, client, expected) in [
        (&["alpha"][..], false, 1, None),
        (&[], false, 1, Some(Refusal::NoContainers)),
        (&many, false, 1, None),
        (
            &one_more,
            false,
            1,
            Some(Refusal::TooManyContainers {
                count: JOB_CONTAINERS_MAX + 1,
            }),
        ),
        (
            &["alpha", "nobody"],
            false,
            1,
            Some(Refusal::ContainerNotSupported {
                container: at("nobody"),
            }),
        ),
        (&["alpha", "delta"], false, 1, None),
        (
            &["delta", "alpha"],
            false,
            1,
            Some(Refusal::FirstContainerNotExternal {
                container: at("delta"),
            }),
        ),
        (&["alpha", "prover"], true, 1, None),
        (
            &["prover", "alpha"],
            true,
            1,
            Some(Refusal::NoProof {
                container: at("alpha"),
            }),
        ),
        (&["alpha", "epsilon"], false, 2, None),
        (
            &["alpha", "epsilon"],
            false,
            1,
            Some(Refusal::NotAllowed {
                container: at("epsilon"),
            }),
        ),
    ] {
        let mut request = asked(containers);
        request.requires_proof = proof;
        request.client = ClientId([client; 16]);
        let expected = expected.map_or(Verdict::Accept, Verdict::Refused);
        let verdict = world.machine.check(&Event::JobAccepted(request));
        assert_eq!(verdict, expected, "{containers:?}, proof: {proof}");
    }
}

/// An owner may be allowed to use a container, and not by delegation.
#[test]
fn delegating_is_allowed_apart() {
    let mut config = config();
    config.containers[0].allowed_delegate_addresses = vec![OTHER];
    let mut world = World::new(config);
    let mut others = subscription(&["alpha"]);
    others.owner = OTHER;
    let mut ours = subscription(&["alpha"]);
    ours.redundancy = 7;
    world.next = vec![
        Next::Create(ours.clone()),
        Next::Delegated(ours.clone(), 1, true),
        Next::Delegated(others.clone(), 2, true),
    ];
    world.mine(1);
    let known = world.machine.subscriptions().range(SubscriptionId(1), 3);
    let standings: Vec<Standing> = known.iter().map(|(_, known)| known.standing).collect();
    let refused = Standing::Refused(Reason::OwnerNotAllowed);
    assert_eq!(standings, [Standing::Admitted, refused, Standing::Admitted]);
    let verdict = |terms| {
        let request = delegated(9, terms, world.now());
        world.machine.check(&Event::DelegatedAccepted(request))
    };
    let container = String::from("alpha");
    assert_eq!(
        verdict(ours),
        Verdict::Refused(Refusal::NotAllowed { container })
    );
    assert_eq!(verdict(others), Verdict::Accept);
}

/// The first of two containers answers in JSON and without a proof, the last for the chain.
#[test]
fn only_the_last_container_answers_for_the_chain() {
    let mut terms = subscription(&["alpha", "prover"]);
    terms.verifier = VERIFIER;
    let mut world = world_with(with_prover(), &terms, 1);
    world.mine(1);
    world.mine(1);
    let mut calls = Vec::new();
    while let Some(issued) = world.issued.pop_front() {
        if let Effect::RunContainer(call) = &issued.effect {
            calls.push((
                call.container.clone(),
                call.destination,
                call.requires_proof,
            ));
        }
        if let Some(outcome) = world.answer(&issued) {
            world.end(&issued, outcome);
        }
    }
    let expected = [
        ("alpha".into(), Location::Offchain, false),
        ("prover".into(), Location::Onchain, true),
    ];
    assert_eq!(calls, expected);
    // An answer of the wrong kind is none.
    let mut world = world_with(config(), &subscription(&["alpha"]), 1);
    world.mine(1);
    world.mine(1);
    let read = world.issued.pop_front().expect("the inputs are read");
    let inputs = world.answer(&read).expect("they are there");
    world.end(&read, inputs);
    let call = world.issued.pop_front().expect("the container is called");
    let output = payload("json", 1);
    world.end(
        &call,
        Outcome::Succeeded(Success::ContainerAnswered { output }),
    );
    let job = world
        .machine
        .jobs()
        .by_interval(SubscriptionId(1), Interval(1));
    let mismatched = Stage::Failed(Cause::Mismatched);
    assert_eq!(job.map(|(_, job)| job.stage), Some(mismatched));
}

fn stage(world: &World) -> Option<Stage> {
    world.machine.job(ID).map(|job| job.stage)
}

/// A container that is away is asked three times; one that must not run twice, and may have run,
/// is not asked again.
#[test]
fn a_container_is_asked_again_only_where_that_may_help_and_harms_nobody() {
    for (container, how, calls, cause) in [
        ("alpha", 1, 3, Cause::Container),
        ("alpha", 0, 3, Cause::Container),
        ("alpha", 2, 3, Cause::Container),
        ("alpha", 3, 1, Cause::Container),
        ("gamma", 0, 1, Cause::NotRerun),
        ("gamma", 1, 3, Cause::Container),
    ] {
        let mut world = World::new(config());
        world.apply(Event::JobAccepted(asked(&[container])));
        let mut called = 0;
        while let Some(call) = world.issued.pop_front() {
            called += 1;
            world.end(&call, spoiled(&call.effect, how));
            world.wait(60_000);
        }
        assert_eq!(called, calls, "{container}, {how}");
        assert_eq!(stage(&world), Some(Stage::Failed(cause)));
    }
}

fn reported(world: &World, status: ReportedStatus, result: Option<u64>) -> Event {
    Event::JobReported {
        job: ID,
        client: ClientId([1; 16]),
        at: world.now(),
        status,
        containers: vec!["elsewhere".into()],
        result: result.map(|number| payload("reported", number)),
    }
}

#[test]
fn what_is_reported_is_kept_until_it_is_final() {
    for (status, is_final) in [
        (ReportedStatus::Success, true),
        (ReportedStatus::Failed, true),
        (ReportedStatus::Running, false),
    ] {
        let mut world = World::new(config());
        let running = reported(&world, ReportedStatus::Running, None);
        world.apply(running.clone());
        assert_eq!(stage(&world), Some(Stage::Running { position: 0 }));
        let event = reported(&world, status, Some(1));
        assert_eq!(world.machine.check(&event), Verdict::Accept);
        world.apply(event);
        let said = world.machine.job_status(ID).expect("kept");
        let what = match said {
            JobStatus::Running => (false, None),
            JobStatus::Success { container, output } => {
                assert_eq!(container, "elsewhere");
                (true, output)
            }
            JobStatus::Failed { error, .. } => (true, error),
        };
        let kept = is_final.then_some(payload("reported", 1));
        assert_eq!((what.0, what.1.map(|at| at.payload)), (is_final, kept));
        let again = world.machine.check(&running);
        let refused = Verdict::Refused(Refusal::Conflict);
        assert_eq!(again, if is_final { refused } else { Verdict::Accept });
        // And a report changes nothing then.
        let before = stage(&world);
        world.apply(running);
        assert_eq!(stage(&world), before);
    }
    // The node's own jobs are not reported from outside.
    let mut world = World::new(config());
    world.apply(Event::JobAccepted(asked(&["alpha"])));
    let event = reported(&world, ReportedStatus::Success, Some(1));
    let own = Verdict::Refused(Refusal::OwnJob);
    assert_eq!(world.machine.check(&event), own);
    world.apply(event);
    assert_eq!(stage(&world), Some(Stage::Running { position: 0 }));
}

/// Where two containers have one id, the first has it.
#[test]
fn the_first_container_of_an_id_is_the_one() {
    for (external, standing) in [
        (true, Standing::Admitted),
        (false, Standing::Refused(Reason::FirstContainerNotExternal)),
    ] {
        let mut config = config();
        let mut second = container("alpha");
        second.external = !external;
        config.containers[0].external = external;
        config.containers.push(second);
        let mut world = world_with(config, &subscription(&["alpha"]), 1);
        world.mine(1);
        let tracked = world.machine.subscriptions().get(SubscriptionId(1));
        assert_eq!(tracked.map(|of| of.standing), Some(standing));
    }
}
