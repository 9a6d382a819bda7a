//! Who runs a container, and where it listens.

use std::fmt;

use reqwest::{
    Client, Method, RequestBuilder, Url,
    header::{AUTHORIZATION, HeaderValue},
};

use super::ContainerError;
use crate::driver::BoxFuture;

/// Runs a container, or knows of one that somebody else runs.
pub trait Backend: Send + Sync + 'static {
    /// Where the container listens now; `None` while it does not run.
    fn endpoint(&self) -> Option<Endpoint>;

    /// Stops the container if it is ours; resolves when it is gone.
    fn stop(&self) -> BoxFuture<()>;
}

/// A bearer token. Never printed.
#[derive(Clone)]
pub struct Bearer(HeaderValue);

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(***)")
    }
}

/// Where a container listens.
#[derive(Clone, Debug)]
pub struct Endpoint {
    base: Url,
    bearer: Option<Bearer>,
}

impl Endpoint {
    /// A container on this machine.
    pub(super) fn local(address: std::net::SocketAddr) -> Option<Self> {
        let base = Url::parse(&format!("http://{address}")).ok()?;
        Some(Self { base, bearer: None })
    }

    pub(super) fn is_tls(&self) -> bool {
        self.base.scheme() == "https"
    }

    /// A request to `path` below the base, with a query's name and value.
    pub(super) fn request(
        &self,
        client: &Client,
        method: Method,
        path: &str,
        query: Option<(&str, &str)>,
    ) -> RequestBuilder {
        let mut url = self.base.clone();
        let below = format!("{}/{path}", url.path().trim_end_matches('/'));
        url.set_path(&below);
        if let Some((name, value)) = query {
            url.query_pairs_mut().append_pair(name, value);
        }
        let request = client.request(method, url);
        match &self.bearer {
            Some(Bearer(value)) => request.header(AUTHORIZATION, value.clone()),
            None => request,
        }
    }
}

/// A container that somebody else runs, at a fixed URL. It is taken to run.
#[derive(Clone, Debug)]
pub struct Remote {
    endpoint: Endpoint,
}

impl Remote {
    /// The container `id` at `url` (`http` or `https`, host, optional port and path), with an
    /// optional bearer token for `Authorization`.
    ///
    /// # Errors
    /// [`ContainerError::Url`] (also for a URL with a user or password: they would be printed
    /// with it), [`ContainerError::Bearer`].
    pub fn new(id: &str, url: &str, bearer: Option<&str>) -> Result<Self, ContainerError> {
        let unusable = |reason: &str| ContainerError::Url {
            id: id.to_owned(),
            reason: reason.to_owned(),
        };
        let mut base = Url::parse(url).map_err(|error| unusable(&error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(unusable("its scheme is neither http nor https"));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(unusable(
                "it holds a user or password; use the bearer setting for secrets",
            ));
        }
        base.set_query(None);
        base.set_fragment(None);
        let bearer = bearer
            .map(|token| {
                let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                    .map_err(|_| ContainerError::Bearer { id: id.to_owned() })?;
                value.set_sensitive(true);
                Ok(Bearer(value))
            })
            .transpose()?;
        Ok(Self {
            endpoint: Endpoint { base, bearer },
        })
    }
}

impl Backend for Remote {
    fn endpoint(&self) -> Option<Endpoint> {
        Some(self.endpoint.clone())
    }

    fn stop(&self) -> BoxFuture<()> {
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_is_never_printed_and_a_path_is_kept() {
        let remote = Remote::new("llm", "http://example.org:8080/v1/", Some("s3cret")).unwrap();
        assert!(!format!("{remote:?}").contains("s3cret"));
        let request = remote
            .endpoint
            .request(&Client::new(), Method::POST, "service_output", None)
            .build()
            .unwrap();
        assert_eq!(
            request.url().as_str(),
            "http://example.org:8080/v1/service_output"
        );
        assert_eq!(request.headers()[AUTHORIZATION], "Bearer s3cret");
        assert!(!format!("{request:?}").contains("s3cret"));
    }

    #[test]
    fn unusable_urls_are_refused_without_being_repeated() {
        for url in [
            "ftp://example.org",
            "example.org:80",
            "http://u:hunter2@example.org",
            "",
        ] {
            let error = Remote::new("llm", url, None).unwrap_err().to_string();
            assert!(error.starts_with("E-CONT-001"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
