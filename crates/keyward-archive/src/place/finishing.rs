//! The last request of an upload, under a condition that `object_store` does not know: that nothing
//! has the name yet. The request is recognised on its way out and gets one more header.
//!
//! | store | request | added |
//! |---|---|---|
//! | S3 | `POST ?uploadId=` (CompleteMultipartUpload) | `If-None-Match: *`; SigV4 leaves it unsigned |
//! | Azure | `PUT ?comp=blocklist` (Put Block List) | `If-None-Match: *`, who writes; signed anew with a shared key |
//!
//! Google has no such condition on the last request; there the finished object is copied under one.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use object_store::azure::{AzureAuthorizer, AzureCredential, AzureCredentialProvider};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use object_store::{ClientOptions, HeaderValue};

/// What the last request is to carry.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    /// Whether the name must be free.
    pub(super) create: bool,
    /// Who writes; see [`super::upload`].
    pub(super) writer: String,
}

/// Makes clients that add to the last request.
#[derive(Debug, Clone)]
pub(super) struct Finishing(Arc<Inner>);

struct Inner {
    condition: Condition,
    /// The account, for Azure.
    account: Option<String>,
    credentials: OnceLock<AzureCredentialProvider>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Finishing").field("condition", &self.condition).finish_non_exhaustive()
    }
}

impl Finishing {
    /// For S3.
    pub(super) fn unsigned(condition: Condition) -> Self {
        Self(Arc::new(Inner { condition, account: None, credentials: OnceLock::new() }))
    }

    /// For Azure, which signs such headers.
    pub(super) fn signed(condition: Condition, account: String) -> Self {
        Self(Arc::new(Inner { condition, account: Some(account), credentials: OnceLock::new() }))
    }

    /// What to sign with, once the client is there.
    pub(super) fn credentials(&self, credentials: AzureCredentialProvider) {
        let _ = self.0.credentials.set(credentials);
    }
}

impl HttpConnector for Finishing {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Service { client, finishing: self.clone() }))
    }
}

#[derive(Debug)]
struct Service {
    client: HttpClient,
    finishing: Finishing,
}

impl Service {
    async fn amend(&self, request: &mut HttpRequest) -> Result<(), HttpError> {
        let Inner { condition, account, credentials } = &*self.finishing.0;
        let query = request.uri().query().unwrap_or_default();
        let asks = |what: &str| query.split('&').any(|pair| pair.starts_with(what));
        let Some(account) = account else {
            if condition.create && request.method().as_str() == "POST" && asks("uploadId=") {
                request.headers_mut().insert("if-none-match", HeaderValue::from_static("*"));
            }
            return Ok(());
        };
        if request.method().as_str() != "PUT" || !asks("comp=blocklist") {
            return Ok(());
        }
        if let Ok(writer) = HeaderValue::from_str(&condition.writer) {
            request.headers_mut().insert("x-ms-meta-keyward", writer);
        }
        if condition.create {
            request.headers_mut().insert("if-none-match", HeaderValue::from_static("*"));
        }
        let failed = |error: object_store::Error| HttpError::new(HttpErrorKind::Unknown, error);
        if let Some(credentials) = credentials.get() {
            let credential = credentials.get_credential().await.map_err(failed)?;
            if matches!(*credential, AzureCredential::AccessKey(_)) {
                request.headers_mut().remove("authorization");
                AzureAuthorizer::new(&credential, account).try_authorize(request).map_err(failed)?;
            }
        }
        Ok(())
    }
}

// Written out, since the trait's own macro would be one more dependency.
type Answer<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

impl HttpService for Service {
    fn call<'life0, 'async_trait>(&'life0 self, mut request: HttpRequest) -> Answer<'async_trait>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            self.amend(&mut request).await?;
            self.client.execute(request).await
        })
    }
}
