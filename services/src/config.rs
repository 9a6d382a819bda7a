//! Settings that every service has, from flags and from the environment
//! (`docs/spec/services.md`).

use std::{
    convert::Infallible,
    env,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use clap::Args;
use serde_json::Value;

use crate::http::{BODY_LEN_MAX, ServeOptions};

/// The port that a node expects inside a container.
const CONTAINER_PORT: u16 = 3000;

/// Flags of every service.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Address to listen on; port 0 takes a free one [default: 127.0.0.1:3000, or 0.0.0.0:3000
    /// with RUNTIME=docker in the environment]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,

    /// Largest request body, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = BODY_LEN_MAX)]
    pub body_limit: usize,

    /// End when standard input ends, so that the service dies with the process that started it
    #[arg(long)]
    pub exit_with_stdin: bool,
}

impl ServeArgs {
    /// With the defaults filled in. Loopback, unless in a container.
    #[must_use]
    pub fn options(&self) -> ServeOptions {
        let docker = env::var("RUNTIME").is_ok_and(|runtime| runtime == "docker");
        let host = if docker {
            Ipv4Addr::UNSPECIFIED
        } else {
            Ipv4Addr::LOCALHOST
        };
        ServeOptions {
            listen: self
                .listen
                .unwrap_or(SocketAddr::new(host.into(), CONTAINER_PORT)),
            body_len_max: self.body_limit,
            exit_with_stdin: self.exit_with_stdin,
        }
    }
}

/// The cache directory of models by default, `~/.cache/ritual`; none without a home directory.
#[must_use]
pub fn default_cache_dir() -> Option<PathBuf> {
    env::home_dir().map(|home| home.join(".cache").join("ritual"))
}

/// Reads a path in which a leading `~/` is the home directory.
///
/// # Errors
/// None; the signature is what the flag parser wants.
pub fn path(text: &str) -> Result<PathBuf, Infallible> {
    let text = unquoted(text);
    Ok(match (text.strip_prefix("~/"), env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        (_, _) => PathBuf::from(text),
    })
}

/// The text itself, or what it says if it is a JSON string: the services' variables may be
/// written either way.
#[must_use]
pub fn unquoted(text: &str) -> String {
    match serde_json::from_str(text) {
        Ok(Value::String(inner)) => inner,
        Ok(_) | Err(_) => text.to_owned(),
    }
}
