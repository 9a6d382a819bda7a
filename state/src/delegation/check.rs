//! The verdict on a delegated subscription that is not recorded yet.

use super::delegated_job_id;
use crate::{
    admission,
    event::DelegatedRequest,
    limits::DELEGATED_AHEAD_MAX_S,
    machine::{Machine, Refusal, Verdict},
    subscription::{self, CANCELLED_AT},
};

impl Machine {
    /// Judges a delegated subscription before it is recorded, in the order of
    /// `docs/spec/rest.md`. The same again is known; another under the same nonce conflicts.
    pub(crate) fn check_delegated(&self, request: &DelegatedRequest) -> Verdict {
        let (Some(config), Some(_)) = (self.config.as_ref(), self.chain_config()) else {
            return Verdict::Refused(Refusal::ChainNotEnabled);
        };
        let key = (request.subscription.owner, request.nonce);
        if let Some(known) = self.delegations.get(key) {
            let known = &known.request;
            let same = known.subscription == request.subscription
                && known.expiry == request.expiry
                && (known.v, known.r, known.s) == (request.v, request.r, request.s)
                && known.input == request.input;
            return if same {
                Verdict::Known(delegated_job_id(key))
            } else {
                Verdict::Refused(Refusal::Conflict)
            };
        }
        // To be created, it must be active before its signature is void.
        let begins = self
            .expected_behind(self.present(request))
            .as_contract_time()
            .max(request.subscription.active_at);
        if begins >= request.expiry && request.known_id.0 == 0 {
            return Verdict::Refused(Refusal::SignatureExpired);
        }
        if self.is_too_far_ahead(request) {
            return Verdict::Refused(Refusal::TooFarAhead);
        }
        let mut containers = self
            .catalog
            .chain(config, &request.subscription.container_id);
        let name = |container: Option<&crate::config::ContainerConfig>| {
            container
                .map(|container| container.id.clone())
                .unwrap_or_else(|| alloc::format!("{}", request.subscription.container_id))
        };
        match admission::admit(config, &self.catalog, &request.subscription, true) {
            Err(admission::Reason::ContainerNotSupported) => {
                Verdict::Refused(Refusal::ContainerNotSupported {
                    container: name(None),
                })
            }
            Err(admission::Reason::FirstContainerNotExternal) => {
                Verdict::Refused(Refusal::FirstContainerNotExternal {
                    container: name(containers.next()),
                })
            }
            Err(admission::Reason::NoProof) => Verdict::Refused(Refusal::NoProof {
                container: name(containers.next_back()),
            }),
            Err(admission::Reason::OwnerNotAllowed) => Verdict::Refused(Refusal::NotAllowed {
                container: name(containers.next()),
            }),
            // A price is no matter of the request's form: as in the original it is accepted, and
            // the reason is the job's.
            Err(
                admission::Reason::ChainNotEnabled
                | admission::Reason::TokenNotAccepted
                | admission::Reason::PriceTooLow
                | admission::Reason::NoPaymentWallet
                | admission::Reason::VerifierNotAccepted
                | admission::Reason::StakeAboveCap
                | admission::Reason::NothingWanted
                | admission::Reason::WalletInvalid
                | admission::Reason::BalanceTooLow
                | admission::Reason::AllowanceTooLow
                | admission::Reason::PeriodTooShort,
            )
            | Ok(()) => {
                let of_client = self.jobs.waiting_of(request.client);
                if of_client >= self.limits().delegated_waiting_max {
                    return Verdict::Refused(Refusal::Busy);
                }
                self.check_room(self.jobs.waiting)
            }
        }
    }

    /// Whether a subscription that becomes active then would wait longer than there is room for;
    /// not where no block is known of.
    fn is_too_far_ahead(&self, request: &DelegatedRequest) -> bool {
        let (now, active_at) = (self.present(request).0, request.subscription.active_at);
        let begins = subscription::in_epoch_of(now, active_at);
        now > 0 && active_at != CANCELLED_AT && begins > now.saturating_add(DELEGATED_AHEAD_MAX_S)
    }
}
