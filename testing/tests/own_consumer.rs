//! How to property-test a consumer of one's own: the guide `docs/testing.md` explains this file.
//!
//! The consumer is `DiffusionNFT` of `contracts/src/examples`: it asks for a picture and mints a token of it.

use alloy_sol_types::{SolValue, sol};
use infernet_contracts::artifacts;
use infernet_state::subscription::CANCELLED_AT;
use infernet_testing::{
    abi::Coordinator,
    evm::{Build, Execution, World, creation_code},
    model::{Answer, Call, Deployment, address},
    strategies::values::bytes,
};
use proptest::{collection::vec, prelude::*};
use revm::primitives::{Address, Bytes, U256};

sol! {
    interface DiffusionNFT {
        function mint(string prompt, address to) external returns (uint32 id);
        function counter() external view returns (uint256);
        function ownerOf(uint256 tokenId) external view returns (address);
    }
}

/// What can happen to the consumer.
#[derive(Clone, Debug)]
enum Step {
    /// Somebody asks for a picture for this account.
    Mint(Address),
    /// A node answers a request: one that exists, or nearly so.
    Deliver {
        request: u32,
        interval: u32,
        node: Address,
        answer: Answer,
    },
    /// Time passes, in seconds.
    Wait(u64),
}

/// A good answer: `abi.encode(raw, processed)`, where raw is the encoded name of the picture.
fn picture(name: &str) -> Answer {
    let raw = Bytes::from(name.to_owned().abi_encode());
    let output = (raw, Bytes::new()).abi_encode_params().into();
    Answer {
        output,
        ..Answer::default()
    }
}

fn step() -> impl Strategy<Value = Step> {
    let account = || (0_u64..3).prop_map(|number| address(0x100 + number));
    let answer = prop_oneof![
        3 => "[a-z]{0,40}".prop_map(|name| picture(&name)),
        // A node may send anything: also what claims to be made for somebody else.
        1 => (bytes(), bytes()).prop_map(|(input, output)| Answer { input, output, ..Answer::default() }),
    ];
    prop_oneof![
        3 => (0_u64..4).prop_map(|number| Step::Mint(if number == 0 { Address::ZERO } else { address(number) })),
        5 => (0_u32..6, prop_oneof![8 => Just(1_u32), 1 => any::<u32>()], account(), answer).prop_map(
            |(request, interval, node, answer)| Step::Deliver { request, interval, node, answer }
        ),
        1 => (0_u64..1_000_000).prop_map(Step::Wait),
    ]
}

/// The consumer on a chain, and what it must have come to.
struct Gallery {
    world: World,
    at: Deployment,
    nft: Address,
    /// For whom each request was made, by id; `None` once it is answered.
    open: Vec<Option<Address>>,
    /// Who must own each token.
    owners: Vec<Address>,
}

impl Gallery {
    fn new() -> Self {
        let (mut world, at) = World::deployed(Build::Paris);
        // `include_str!` of your own artifact does as well.
        let code = creation_code(artifacts::DIFFUSION_NFT).expect("an artifact");
        let nft = world.create(address(1), &code, &at.registry.abi_encode());
        Self {
            world,
            at,
            nft,
            open: Vec::new(),
            owners: Vec::new(),
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Wait(seconds) => self.world.set_time(self.world.time() + seconds),
            Step::Mint(to) => {
                let call = DiffusionNFT::mintCall {
                    prompt: "a cat".into(),
                    to: *to,
                };
                let done = self.world.call(address(2), self.nft, &call).is_done();
                assert_eq!(done, !to.is_zero(), "a picture is made for somebody");
                if done {
                    self.open.push(Some(*to));
                }
            }
            Step::Deliver {
                request,
                interval,
                node,
                answer,
            } => {
                let call = Call::DeliverCompute {
                    id: *request,
                    interval: *interval,
                    answer: answer.clone(),
                    node_wallet: Address::ZERO,
                };
                match self.world.execute(*node, &call.message(&self.at)) {
                    Execution::Done { .. } => self.answered(*request, *interval),
                    Execution::Reverted(_) => {}
                    Execution::Failed(reason) => panic!("a delivery ended with {reason}"),
                }
            }
        }
    }

    /// A delivery went through: it must have been to an open request.
    fn answered(&mut self, request: u32, interval: u32) {
        assert_eq!(interval, 1, "a request has one interval");
        let place = usize::try_from(request).expect("a small id").checked_sub(1);
        let open = place
            .and_then(|place| self.open.get_mut(place))
            .expect("a request of that id");
        self.owners
            .push(open.take().expect("a request is answered once"));
    }

    /// What must hold at any time.
    fn check(&mut self) {
        let counter = self.world.read(self.nft, &DiffusionNFT::counterCall {});
        assert_eq!(
            counter,
            Some(U256::from(self.owners.len())),
            "one token for each answer"
        );
        for (token, owner) in self.owners.iter().enumerate() {
            let call = DiffusionNFT::ownerOfCall {
                tokenId: U256::from(token),
            };
            assert_eq!(
                self.world.read(self.nft, &call),
                Some(*owner),
                "to whom it was promised"
            );
        }
        let next = self
            .world
            .read(self.at.coordinator, &Coordinator::idCall {});
        assert_eq!(
            next,
            u32::try_from(self.open.len() + 1).ok(),
            "it asks for nothing else"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Each request gives one token, to the one it was made for, whatever nodes send.
    #[test]
    fn every_answer_gives_the_promised_token(steps in vec(step(), 1..30)) {
        let mut gallery = Gallery::new();
        for step in &steps {
            gallery.take(step);
            gallery.check();
        }
    }
}

/// Single scenarios are as short.
#[test]
fn a_request_waits_for_decades() {
    let mut gallery = Gallery::new();
    gallery.take(&Step::Mint(address(7)));
    // The contracts' clock has 32 bits: beyond 2106 the request would seem to lie in the future.
    gallery.take(&Step::Wait(50 * 365 * 24 * 3_600));
    let call = Coordinator::getSubscriptionCall { subscriptionId: 1 };
    let request = gallery
        .world
        .read(gallery.at.coordinator, &call)
        .expect("the request");
    assert_ne!(request.activeAt, CANCELLED_AT);
    let answer = picture("cat.png");
    gallery.take(&Step::Deliver {
        request: 1,
        interval: 1,
        node: address(9),
        answer,
    });
    gallery.check();
    assert_eq!(gallery.owners, [address(7)]);
}
