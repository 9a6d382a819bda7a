//! The rules that decide what the node takes on, at their edges: admission and its reasons, the
//! profit guard, retention, idempotency.

use crate::common::*;
use infernet_state::{
    Config, Effect, Event,
    admission::Reason,
    config::{ChainConfig, ClientId},
    delivery::State,
    event::{Idempotency, Outcome, Subscription, Success},
    job::{Cause, Stage},
    machine::{Refusal, Verdict},
    subscription::Standing,
    types::{Address, Amount, Interval, JobId, SubscriptionId, WallTime},
};

const TOKEN: Address = Address([7; 20]);

/// Where a subscription stands in the block that creates it.
fn standing(config: &Config, terms: &Subscription) -> Standing {
    let mut world = World::new(config.clone());
    world.next = vec![Next::Create(terms.clone())];
    world.mine(1);
    let tracked = world.machine.subscriptions().get(SubscriptionId(1));
    tracked.expect("it is known").standing
}

fn paying(amount: Amount, token: Address) -> Subscription {
    let mut terms = verified(0);
    terms.payment_amount = amount;
    terms.payment_token = token;
    terms
}

/// The prover takes two tokens at a price, and everything may be checked.
fn strict() -> Config {
    let mut config = with_prover();
    config.verifiers = Some(vec![VERIFIER]);
    config.stake_caps = vec![(TOKEN, Amount::from(900)), (OTHER, Amount::ZERO)];
    let prover = config.containers.last_mut().expect("the prover");
    prover.accepted_payments = vec![
        (NATIVE, Amount::from(100)),
        (TOKEN, Amount::from(200)),
        (OTHER, Amount::ZERO),
    ];
    prover.allowed_addresses = vec![OTHER, CONSUMER];
    config
}

fn without_chain(config: &mut Config) {
    config.chain = None;
}

fn chain(config: &mut Config) -> &mut ChainConfig {
    config.chain.as_mut().expect("a chain")
}

#[test]
fn each_reason_holds_from_its_edge_on() {
    type Change = fn(&mut Config, &mut Subscription);
    let at = |amount: u128, token| paying(Amount::from(amount), token);
    let refused = |reason| Standing::Refused(reason);
    let none: Change = |_, _| {};
    let cases: Vec<(&str, Subscription, Change, Standing)> = vec![
        ("the least price", at(100, NATIVE), none, Standing::Admitted),
        (
            "one less",
            at(99, NATIVE),
            none,
            refused(Reason::PriceTooLow),
        ),
        (
            "another token's least",
            at(200, TOKEN),
            none,
            Standing::Admitted,
        ),
        (
            "one less of it",
            at(199, TOKEN),
            none,
            refused(Reason::PriceTooLow),
        ),
        (
            "no such token",
            at(500, CONSUMER),
            none,
            refused(Reason::TokenNotAccepted),
        ),
        ("the cap", at(900, TOKEN), none, Standing::Admitted),
        (
            "one more",
            at(901, TOKEN),
            none,
            refused(Reason::StakeAboveCap),
        ),
        (
            "no cap",
            paying(Amount::MAX, NATIVE),
            none,
            Standing::Admitted,
        ),
        (
            "a cap of nothing",
            at(1, OTHER),
            none,
            refused(Reason::StakeAboveCap),
        ),
        ("nothing at stake", at(0, OTHER), none, Standing::Admitted),
        (
            "no stake without a verifier",
            at(901, TOKEN),
            |_, terms| terms.verifier = Address::ZERO,
            Standing::Admitted,
        ),
        (
            "an unknown verifier",
            at(100, NATIVE),
            |_, terms| terms.verifier = OTHER,
            refused(Reason::VerifierNotAccepted),
        ),
        (
            "an unknown verifier of free work, whom nobody asks",
            at(0, OTHER),
            |_, terms| terms.verifier = CONSUMER,
            Standing::Admitted,
        ),
        (
            "no verifier is accepted",
            at(100, NATIVE),
            |config, _| config.verifiers = Some(Vec::new()),
            refused(Reason::VerifierNotAccepted),
        ),
        (
            "every verifier is accepted",
            at(100, NATIVE),
            |config, terms| {
                config.verifiers = None;
                terms.verifier = OTHER;
            },
            Standing::Admitted,
        ),
        (
            "no proof",
            at(100, NATIVE),
            |config, _| config.containers.last_mut().expect("one").generates_proofs = false,
            refused(Reason::NoProof),
        ),
        (
            "not external",
            at(100, NATIVE),
            |config, _| config.containers.last_mut().expect("one").external = false,
            refused(Reason::FirstContainerNotExternal),
        ),
        (
            "a stranger",
            at(100, NATIVE),
            |_, terms| terms.owner = NODE,
            refused(Reason::OwnerNotAllowed),
        ),
        (
            "nothing wanted",
            at(100, NATIVE),
            |_, terms| terms.redundancy = 0,
            refused(Reason::NothingWanted),
        ),
        (
            "never wanted",
            at(100, NATIVE),
            |_, terms| terms.frequency = 0,
            refused(Reason::NothingWanted),
        ),
        (
            "no wallet to be paid into",
            at(100, NATIVE),
            |config, _| chain(config).payment_wallet = None,
            refused(Reason::NoPaymentWallet),
        ),
        (
            "free work needs none",
            at(0, OTHER),
            |config, _| chain(config).payment_wallet = None,
            Standing::Admitted,
        ),
        (
            "no such container",
            at(100, NATIVE),
            |config, _| config.containers.truncate(3),
            refused(Reason::ContainerNotSupported),
        ),
        (
            "no chain",
            at(100, NATIVE),
            |config, _| without_chain(config),
            refused(Reason::ChainNotEnabled),
        ),
    ];
    for (what, mut terms, change, expected) in cases {
        let mut config = strict();
        change(&mut config, &mut terms);
        assert_eq!(standing(&config, &terms), expected, "{what}");
    }
}

/// The containers of a chain ask together; a sum beyond the numbers there are is never reached.
#[test]
fn prices_of_a_chain_add_up() {
    for (asked, offered, expected) in [
        (Amount::from(60), 100, Standing::Admitted),
        (Amount::from(60), 99, Standing::Refused(Reason::PriceTooLow)),
        (Amount::MAX, 100, Standing::Refused(Reason::PriceTooLow)),
    ] {
        let mut config = config();
        config.containers[0].accepted_payments = vec![(NATIVE, asked)];
        config.containers[1].accepted_payments = vec![(TOKEN, Amount::ZERO), (NATIVE, 40.into())];
        let mut terms = subscription(&["beta", "alpha"]);
        terms.payment_amount = Amount::from(offered);
        assert_eq!(standing(&config, &terms), expected, "{asked} and 40");
        terms.payment_token = TOKEN;
        let not_taken = Standing::Refused(Reason::TokenNotAccepted);
        assert_eq!(standing(&config, &terms), not_taken);
    }
}

#[test]
fn a_payer_needs_what_it_owes_and_no_more() {
    for (valid, balance, allowance, expected) in [
        (true, 1_000, 1_000, None),
        (true, 999, 1_000, Some(Reason::BalanceTooLow)),
        (true, 1_000, 999, Some(Reason::AllowanceTooLow)),
        (true, 999, 999, Some(Reason::BalanceTooLow)),
        (false, 1_000, 1_000, Some(Reason::WalletInvalid)),
    ] {
        let mut world = World::new(config());
        let mut terms = subscription(&["alpha"]);
        terms.payment_amount = Amount::from(1_000);
        world.next = vec![Next::Create(terms)];
        world.mine(1);
        world.mine(1);
        let read = world.issued.pop_front().expect("the payer is read");
        world.end(
            &read,
            Outcome::Succeeded(Success::PayerRead {
                valid,
                balance: Amount::from(balance),
                allowance: Amount::from(allowance),
            }),
        );
        let job = world
            .machine
            .jobs()
            .by_interval(SubscriptionId(1), Interval(1));
        let expected = expected.map_or(Stage::ReadingInputs, |reason| {
            Stage::Failed(Cause::Refused(reason))
        });
        assert_eq!(
            job.expect("a job").1.stage,
            expected,
            "{balance}, {allowance}"
        );
    }
}

/// What comes of a delivery at a price whose gas costs 7,000 wei.
fn guarded(rates: &[(Address, Amount)], token: Address, price: Amount) -> State {
    let mut config = config();
    config.rates = rates.to_vec();
    let mut terms = subscription(&["alpha"]);
    terms.payment_amount = price;
    terms.payment_token = token;
    let mut world = World::new(config);
    world.next = vec![Next::Create(terms)];
    world.mine(1);
    world.mine(1);
    while let Some(issued) = world.issued.pop_front() {
        let outcome = if matches!(issued.effect, Effect::Simulate { .. }) {
            Some(Outcome::Succeeded(Success::Simulated {
                gas: 1_000,
                base_fee: 5,
                priority_fee: 2,
            }))
        } else {
            world.answer(&issued)
        };
        if let Some(outcome) = outcome {
            world.end(&issued, outcome);
        }
    }
    let (_, delivery) = world.machine.deliveries().iter().next().expect("one");
    delivery.state
}

#[test]
fn a_price_must_be_worth_its_gas_where_its_token_has_a_rate() {
    let unit = Amount::from(10_u128.pow(18));
    let tenth = Amount::from(10_u128.pow(17));
    let any = [(OTHER, unit)];
    for (rates, token, price, worth) in [
        // Nothing is guarded without rates, and no token without one.
        (&[][..], NATIVE, Amount::from(1), true),
        (&any, TOKEN, Amount::from(1), true),
        // The coin's own rate is implied, and may be given.
        (&any, NATIVE, Amount::from(7_000), true),
        (&any, NATIVE, Amount::from(6_999), false),
        (&[(NATIVE, tenth)], NATIVE, Amount::from(7_000), false),
        (&[(TOKEN, tenth)], TOKEN, Amount::from(70_000), true),
        (&[(TOKEN, tenth)], TOKEN, Amount::from(69_999), false),
        // Worthless, however much of it; beyond all numbers, however little.
        (&[(TOKEN, Amount::ZERO)], TOKEN, Amount::MAX, false),
        (&[(TOKEN, Amount::MAX)], TOKEN, Amount::from(2), true),
        (&[(TOKEN, Amount::from(1))], TOKEN, Amount::MAX, true),
        // Free work is no matter of profit.
        (&[(TOKEN, Amount::ZERO)], TOKEN, Amount::ZERO, true),
    ] {
        let state = guarded(rates, token, price);
        // It waits for a lower fee.
        let waits = state == State::Planned;
        let sent = matches!(state, State::Sent(_));
        assert!(
            if worth { sent } else { waits },
            "{rates:?} {token} {price}: {state:?}"
        );
    }
}

#[test]
fn permutations_are_known_up_to_a_length_and_a_number() {
    let unheard = Standing::Refused(Reason::ContainerNotSupported);
    let three = ["gamma", "beta", "alpha"];
    for (chains, length, ids, expected) in [
        (vec![], 2, &["gamma", "alpha"][..], Standing::Admitted),
        (vec![], 2, &three, unheard),
        (vec![], 3, &three, Standing::Admitted),
        (vec![], 1, &["gamma", "alpha"], unheard),
        (vec![], 0, &["gamma"], Standing::Admitted),
        (vec![], u8::MAX, &["alpha", "alpha"], unheard),
        (vec![three.to_vec()], 2, &three, Standing::Admitted),
        (
            vec![vec!["alpha", "alpha"]],
            0,
            &["alpha", "alpha"],
            Standing::Admitted,
        ),
        (
            vec![vec!["alpha", "nobody"]],
            0,
            &["alpha", "nobody"],
            unheard,
        ),
    ] {
        let mut config = config();
        config.permutation_length_max = length;
        let owned = |chain: Vec<&str>| chain.into_iter().map(String::from).collect();
        config.chains = chains.into_iter().map(owned).collect();
        assert_eq!(
            standing(&config, &subscription(ids)),
            expected,
            "{length} of {ids:?}"
        );
    }
    // 316 containers make 99,856 chains of one or two, 317 make 100,489: of those only the short.
    for (count, pairs) in [(316, Standing::Admitted), (317, unheard)] {
        let mut config = config();
        config.permutation_length_max = u8::MAX;
        let ids: Vec<String> = (0..count).map(|id| format!("c{id}")).collect();
        config.containers = ids.iter().map(|id| container(id)).collect();
        let mut world = World::new(config);
        for ids in [&["c1"][..], &["c315", "c1"], &["c1", "c2", "c3"]] {
            world.next.push(Next::Create(subscription(ids)));
        }
        world.mine(1);
        let known = world.machine.subscriptions().range(SubscriptionId(1), 3);
        let standings: Vec<Standing> = known.iter().map(|(_, known)| known.standing).collect();
        assert_eq!(standings, [Standing::Admitted, pairs, unheard], "{count}");
    }
}

fn keyed(number: u8, key: u64, body: u64) -> infernet_state::event::JobRequest {
    let mut request = job(number, &["alpha"], WallTime(0));
    request.idempotency = Some(Idempotency {
        key: hash("key", key),
        body: hash("body", body),
    });
    request
}

/// A key names one body of one client, for as long as its job is kept: also where nothing new
/// is taken on.
#[test]
fn an_idempotency_key_names_one_job() {
    let mut config = config();
    config.limits.jobs_open_max = 1;
    config.limits.result_age_max_ms = 1_000;
    let mut world = World::new(config);
    let first = Event::JobAccepted(keyed(1, 1, 1));
    assert_eq!(world.machine.check(&first), Verdict::Accept);
    world.apply(first.clone());
    let known = Verdict::Known(JobId([1; 16]));
    let conflict = Verdict::Refused(Refusal::Conflict);
    let busy = Verdict::Refused(Refusal::Busy);
    let ask = |world: &World, request| world.machine.check(&Event::JobAccepted(request));
    assert_eq!(ask(&world, keyed(1, 1, 1)), known, "the same once more");
    assert_eq!(ask(&world, keyed(2, 1, 1)), known, "under another id");
    assert_eq!(ask(&world, keyed(2, 1, 2)), conflict, "another body");
    assert_eq!(ask(&world, keyed(2, 2, 1)), busy, "another key");
    let mut stranger = keyed(2, 1, 1);
    stranger.client = ClientId([2; 16]);
    assert_eq!(ask(&world, stranger.clone()), busy, "another client");
    // What was checked apart may meet in one batch.
    let before = world.machine.digest();
    world.apply(Event::JobAccepted(keyed(2, 1, 2)));
    assert_eq!(world.machine.jobs().of_client(ClientId([1; 16])).count(), 1);
    assert_ne!(world.machine.digest(), before, "the event was applied");
    world.settle();
    assert_eq!(ask(&world, keyed(2, 1, 2)), conflict, "its result is kept");
    assert_eq!(ask(&world, stranger), Verdict::Accept);
    world.wait(999);
    assert_eq!(ask(&world, keyed(2, 1, 1)), known);
    world.wait(1);
    assert_eq!(
        ask(&world, keyed(2, 1, 2)),
        Verdict::Accept,
        "forgotten with its job"
    );
}

/// Ended jobs go at their age, and the oldest before it where there are more than the limit:
/// those of clients and those of intervals each for themselves.
#[test]
fn results_are_kept_by_age_and_count() {
    let mut config = config();
    config.limits.result_age_max_ms = 10_000;
    config.limits.results_max = 2;
    let mut world = World::new(config);
    world.next = vec![Next::Create(subscription(&["alpha"]))];
    world.mine(1);
    world.mine(1);
    world.settle();
    world.mine(1);
    world.finalize(0);
    let client = ClientId([1; 16]);
    let mut ended = Vec::new();
    for number in 1..=3 {
        world.wait(1);
        let at = world.now();
        world.apply(Event::JobAccepted(job(number, &["alpha"], at)));
        world.settle();
        ended.push(world.now());
        assert_eq!(world.machine.jobs_of(client, Some(true)), []);
    }
    let of_client = |world: &World| world.machine.jobs_of(client, None);
    let (second, third) = (JobId([2; 16]), JobId([3; 16]));
    assert_eq!(
        world.machine.next_deadline(),
        Some(ended[0]),
        "one too many"
    );
    world.tick();
    assert_eq!(of_client(&world), [second, third]);
    let of_interval = |world: &World| {
        let job = world
            .machine
            .jobs()
            .by_interval(SubscriptionId(1), Interval(1));
        job.map(|(_, job)| job.stage)
    };
    assert_eq!(of_interval(&world), Some(Stage::Succeeded));
    world.wait(ended[1].0 + 10_000 - 1 - world.wall);
    assert_eq!(of_client(&world), [second, third]);
    assert_eq!(of_interval(&world), None, "older");
    world.wait(1);
    assert_eq!(of_client(&world), [third]);
    world.wait(1);
    assert!(of_client(&world).is_empty());
    assert_eq!(world.machine.next_deadline(), None);
}

/// Work that is due waits while as much is open as may be; and is begun when there is room.
#[test]
fn as_many_intervals_run_at_once_as_may() {
    let mut config = config();
    config.limits.jobs_open_max = 2;
    let mut world = world_with(config, &subscription(&["alpha"]), 3);
    world.mine(1);
    world.mine(1);
    assert_eq!(world.machine.pending().onchain, 2);
    world.mine(1);
    assert_eq!(world.machine.pending().onchain, 2);
    world.run(4);
    assert_eq!(world.delivered(), 2, "open until they are final");
    world.run(4);
    assert_eq!(world.delivered(), 3);
}

/// A delegated subscription that is withdrawn before it is active leaves nothing behind: neither
/// an entry that would begin it all the same, nor one that a client could pile up.
#[test]
fn a_withdrawn_delegated_subscription_never_begins() {
    let mut world = World::new(config());
    let mut terms = subscription(&["alpha"]);
    terms.payment_amount = Amount::from(1_000);
    terms.active_at = world.head().block.time.as_contract_time() + 20;
    world.mine(1);
    let at = world.now();
    world.apply(Event::DelegatedAccepted(delegated(7, terms, at)));
    assert!(world.machine.next_block_deadline().time.is_some());
    let job = infernet_state::delegation::delegated_job_id((CONSUMER, 7));
    world.apply(Event::JobCancelled { job, at });
    assert_eq!(world.machine.next_block_deadline().time, None);
    world.mine(30);
    assert!(world.issued.is_empty(), "nobody waits for its payer");
    let stage = world.machine.job(job).expect("it is kept").stage;
    assert_eq!(stage, Stage::Failed(Cause::Cancelled));
}
