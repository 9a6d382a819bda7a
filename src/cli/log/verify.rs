//! `infernet log verify`

use std::path::{Path, PathBuf};

use clap::Args;
use infernet_state::types::Address;

use super::{
    super::{
        error::CliError,
        out::{Out, plain},
    },
    Signer,
};
use crate::audit::{self, Report};

#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// An export, a stopped node's data directory, or a mirror.
    pub(super) path: PathBuf,
    #[command(flatten)]
    pub(super) signer: Signer,
}

pub(super) fn run(path: &Path, signer: Option<Address>) -> Result<(), CliError> {
    let report = audit::verify(path, signer).map_err(CliError::Verification)?;
    let mut out = Out::new();
    say(&mut out, &report, signer);
    out.finish()
}

/// Says what was verified, and what could not be.
pub(super) fn say(out: &mut Out, report: &Report, signer: Option<Address>) {
    let found = &report.found;
    out.say(format!("log of       {}", plain(&found.identity)));
    out.say(format!(
        "events       {}-{}",
        found.base.seq.0 + 1,
        found.head.seq
    ));
    out.say(format!("head hash    {}", found.head.hash));
    out.say(format!("state digest {}", report.state));
    if found.base.seq.0 > 0 {
        out.say(format!(
            "begins with  a snapshot of the state behind event {}; the events before are not here",
            found.base.seq
        ));
    }
    out.say(format!(
        "payloads     {} fit, {} were erased",
        found.payloads, found.erased
    ));
    out.say(match found.checkpoints {
        0 => "checkpoints  none: nobody vouches for this log".to_owned(),
        all => format!(
            "checkpoints  {all} fit: hash, signature and state; {} of their trees",
            found.trees
        ),
    });
    if let Some(vouched) = report.vouched {
        out.say(format!("vouched for  all events up to {vouched}"));
    }
    for address in &found.signers {
        out.say(match signer {
            Some(_) => format!("signed by    {address}, as it must be"),
            None => format!("signed by    {address}; whether that is the node, --address says"),
        });
    }
    if report.views == 0 && found.program != crate::log::export::PROGRAM {
        out.say(format!(
            "views        written by version {}: not compared, only the frames count",
            plain(&found.program)
        ));
    }
    out.say("verified");
}
