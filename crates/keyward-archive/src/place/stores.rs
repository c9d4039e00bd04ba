//! Which store a place is in, and how it is reached: the standard variables of each cloud, as the
//! caller passes them. Nothing here reads the environment.
//!
//! Plain `http` goes to this machine itself alone, unless a variable of the cloud asks for it: the
//! signature of a request is as good as the credentials for some minutes.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::multipart::MultipartStore;
use object_store::path::Path as Key;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use tokio::runtime::Runtime;

use super::finishing::{Condition, Finishing};
use super::{At, Place};
use crate::error::Error;

/// The account and key that every Azure emulator has, as Microsoft publishes them.
const EMULATOR_ACCOUNT: &str = "devstoreaccount1";
const EMULATOR_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// The stores that places are in. Clones share connections and settings.
#[derive(Clone)]
pub struct Stores(Arc<Shared>);

struct Shared {
    variables: BTreeMap<String, String>,
    state: PathBuf,
    patience: Patience,
    runtime: OnceLock<Runtime>,
    buckets: Mutex<BTreeMap<(Cloud, String), Weak<Bucket>>>,
}

/// How long a request is repeated that a store does not answer, or answers with an error of its own.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Repetitions of a request.
    pub retries: usize,
    /// How long the first repetition waits; each further one waits up to twice as long.
    pub first_wait: Duration,
    /// No repetition begins later than this.
    pub within: Duration,
}

impl Default for Patience {
    /// Ten repetitions within three minutes.
    fn default() -> Self {
        Self { retries: 10, first_wait: Duration::from_millis(100), within: Duration::from_secs(180) }
    }
}

/// A cloud's kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cloud {
    S3,
    Azure,
    Google,
}

impl Cloud {
    pub(super) fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Azure => "az",
            Self::Google => "gs",
        }
    }
}

/// A store of any kind, with multipart uploads.
pub(super) trait Client: ObjectStore + MultipartStore {}
impl<T: ObjectStore + MultipartStore> Client for T {}

/// One bucket or container.
pub(super) struct Bucket {
    pub(super) cloud: Cloud,
    pub(super) name: String,
    pub(super) client: Arc<dyn Client>,
    pub(super) stores: Stores,
}

impl Stores {
    /// Stores that are reached by `variables`, pairs of name and value of which the clouds' own are
    /// used (`docs/places.md` lists them). `state` is this host's folder in which uploads under way
    /// are noted; it is made when it is needed.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>, state: impl Into<PathBuf>) -> Self {
        Self(Arc::new(Shared {
            variables: variables.into_iter().filter(|(_, value)| !value.is_empty()).collect(),
            state: state.into(),
            patience: Patience::default(),
            runtime: OnceLock::new(),
            buckets: Mutex::new(BTreeMap::new()),
        }))
    }

    /// The same stores with another patience.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Self {
        let Shared { variables, state, .. } = &*self.0;
        Self(Arc::new(Shared {
            variables: variables.clone(),
            state: state.clone(),
            patience,
            runtime: OnceLock::new(),
            buckets: Mutex::new(BTreeMap::new()),
        }))
    }

    /// The place of this name: `s3://BUCKET/KEY`, `az://CONTAINER/KEY`, `gs://BUCKET/KEY`, or a
    /// local path. Nothing is asked of the store.
    ///
    /// # Errors
    /// [`Error::Place`] for another scheme, a name that no object can have, or variables that do
    /// not fit together.
    pub fn place(&self, name: impl AsRef<OsStr>) -> Result<Place, Error> {
        let name = name.as_ref();
        let Some((scheme, rest)) = name.to_str().and_then(|text| text.split_once("://")) else {
            return Ok(Path::new(name).into());
        };
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            || !scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        {
            return Ok(Path::new(name).into());
        }
        let wrong = |reason: &str| Error::Place { place: name.into(), reason: reason.to_owned() };
        let cloud = match scheme {
            "s3" => Cloud::S3,
            "az" => Cloud::Azure,
            "gs" => Cloud::Google,
            _ => return Err(wrong("a place is s3://, az://, gs:// or a local path")),
        };
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty()
            || !bucket.chars().all(|c| c.is_ascii_alphanumeric() || "-_.$".contains(c))
            || bucket.starts_with('.')
        {
            return Err(wrong("it names no bucket"));
        }
        if key.starts_with('/') {
            return Err(wrong("a part of its name is empty"));
        }
        let key = Key::parse(key)
            .map_err(|_| wrong("a part of its name is empty, `.`, `..` or has a control character"))?;
        let bucket = self.bucket(cloud, bucket).map_err(|reason| wrong(&reason))?;
        Ok(Place { at: At::Remote(super::Remote { bucket, key, spool: None }) })
    }

    fn bucket(&self, cloud: Cloud, name: &str) -> Result<Arc<Bucket>, String> {
        let mut buckets = self.0.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get(&(cloud, name.to_owned())).and_then(Weak::upgrade) {
            return Ok(bucket);
        }
        let client = self.client(cloud, name, None)?;
        let bucket = Arc::new(Bucket { cloud, name: name.to_owned(), client, stores: self.clone() });
        buckets.insert((cloud, name.to_owned()), Arc::downgrade(&bucket));
        Ok(bucket)
    }

    /// A client, whose last request of an upload is under `condition`.
    pub(super) fn client(
        &self,
        cloud: Cloud,
        name: &str,
        condition: Option<Condition>,
    ) -> Result<Arc<dyn Client>, String> {
        self.runtime()?;
        let told = |error: object_store::Error| super::cause(&error).reason;
        let retry = self.retry();
        match cloud {
            Cloud::S3 => {
                let mut builder = AmazonS3Builder::new().with_client_options(options()).with_retry(retry);
                for (key, value) in self.of("AWS_") {
                    if let Ok(key) = AmazonS3ConfigKey::from_str(&key) {
                        builder = builder.with_config(key, value);
                    }
                }
                let endpoint = builder
                    .get_config_value(&AmazonS3ConfigKey::S3Endpoint)
                    .or_else(|| builder.get_config_value(&AmazonS3ConfigKey::Endpoint));
                builder = builder.with_allow_http(self.http(endpoint.as_deref(), "AWS_ALLOW_HTTP")?);
                builder = builder.with_bucket_name(name);
                if let Some(condition) = condition {
                    builder = builder.with_http_connector(Finishing::unsigned(condition));
                }
                Ok(Arc::new(builder.build().map_err(told)?))
            }
            Cloud::Azure => {
                let mut builder =
                    MicrosoftAzureBuilder::new().with_client_options(options()).with_retry(retry);
                let settings = self.azure()?;
                for (key, value) in &settings {
                    if let Ok(key) = AzureConfigKey::from_str(key) {
                        builder = builder.with_config(key, value);
                    }
                }
                let endpoint = builder.get_config_value(&AzureConfigKey::Endpoint);
                builder = builder.with_allow_http(self.http(endpoint.as_deref(), "AZURE_ALLOW_HTTP")?);
                builder = builder.with_container_name(name);
                let account = builder.get_config_value(&AzureConfigKey::AccountName).unwrap_or_default();
                let Some(condition) = condition else { return Ok(Arc::new(builder.build().map_err(told)?)) };
                let finishing = Finishing::signed(condition, account);
                let client = builder.with_http_connector(finishing.clone()).build().map_err(told)?;
                finishing.credentials(Arc::clone(client.credentials()));
                Ok(Arc::new(client))
            }
            Cloud::Google => {
                let mut builder =
                    GoogleCloudStorageBuilder::new().with_client_options(options()).with_retry(retry);
                for (key, value) in self.of("GOOGLE_") {
                    if let Ok(key) = GoogleConfigKey::from_str(&key) {
                        builder = builder.with_config(key, value);
                    }
                }
                if let Some(host) = self.variable("STORAGE_EMULATOR_HOST") {
                    let host = if host.contains("://") { host.to_owned() } else { format!("http://{host}") };
                    builder = builder.with_base_url(host.trim_end_matches('/')).with_skip_signature(true);
                    // An upload asks for a credential all the same (object_store 0.14).
                    builder = builder.with_bearer_token("emulator");
                }
                let endpoint = builder.get_config_value(&GoogleConfigKey::BaseUrl);
                let options = options().with_allow_http(self.http(endpoint.as_deref(), "GOOGLE_ALLOW_HTTP")?);
                builder = builder.with_client_options(options).with_bucket_name(name);
                Ok(Arc::new(builder.build().map_err(told)?))
            }
        }
    }

    /// Azure's settings: a connection string first, then what has a variable of its own.
    fn azure(&self) -> Result<BTreeMap<String, String>, String> {
        let mut settings = BTreeMap::new();
        let mut emulator = self.truth("AZURE_STORAGE_USE_EMULATOR");
        if let Some(text) = self.variable("AZURE_STORAGE_CONNECTION_STRING") {
            let (mut account, mut suffix, mut protocol) = (None, "core.windows.net", "https");
            let mut endpoint = None;
            for part in text.split(';').filter(|part| !part.trim().is_empty()) {
                // The text holds a key: no error shows any of it.
                let (name, value) =
                    part.split_once('=').ok_or("a part of AZURE_STORAGE_CONNECTION_STRING has no `=`")?;
                let mut set = |key: &str| settings.insert(key.to_owned(), value.to_owned());
                match name.trim().to_ascii_lowercase().as_str() {
                    "accountname" => {
                        account = Some(value);
                        set("account_name");
                    }
                    "accountkey" => {
                        set("access_key");
                    }
                    "sharedaccesssignature" => {
                        set("sas_key");
                    }
                    "blobendpoint" => endpoint = Some(value.to_owned()),
                    "endpointsuffix" => suffix = value,
                    "defaultendpointsprotocol" => protocol = value,
                    "usedevelopmentstorage" => emulator |= value == "true",
                    _ => {}
                }
            }
            if let Some(endpoint) =
                endpoint.or_else(|| account.map(|account| format!("{protocol}://{account}.blob.{suffix}")))
            {
                settings.insert("endpoint".into(), endpoint);
            }
        }
        for (key, value) in self.of("AZURE_") {
            let key = match key.as_str() {
                "azure_storage_account" => "account_name",
                "azure_storage_key" => "access_key",
                // The library behind would read a variable of its own for it.
                "azure_storage_use_emulator" | "azure_storage_connection_string" => continue,
                other => other,
            };
            settings.insert(key.to_owned(), value.to_owned());
        }
        if emulator {
            let url = self.variable("AZURITE_BLOB_STORAGE_URL").unwrap_or("http://127.0.0.1:10000");
            settings.entry("account_name".into()).or_insert_with(|| EMULATOR_ACCOUNT.into());
            settings.entry("access_key".into()).or_insert_with(|| EMULATOR_KEY.into());
            let account = settings.get("account_name").cloned().unwrap_or_default();
            let endpoint = format!("{}/{account}", url.trim_end_matches('/'));
            if !settings.keys().any(|key| key.ends_with("endpoint")) {
                settings.insert("endpoint".into(), endpoint);
            }
        }
        Ok(settings)
    }

    /// The variables that begin so, their names in lower case.
    fn of(&self, prefix: &str) -> impl Iterator<Item = (String, &str)> {
        let variables = self.0.variables.iter();
        variables
            .filter(move |(name, _)| name.starts_with(prefix))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.as_str()))
    }

    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.0.variables.get(name).map(String::as_str)
    }

    fn truth(&self, name: &str) -> bool {
        self.variable(name)
            .is_some_and(|value| matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes"))
    }

    /// Whether plain http is used; an error where it is asked for and must not be.
    fn http(&self, endpoint: Option<&str>, allowed_by: &str) -> Result<bool, String> {
        let Some(rest) = endpoint.and_then(|endpoint| endpoint.strip_prefix("http://")) else {
            return Ok(false);
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        let loopback = host == "localhost"
            || host == "[::1]"
            || host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback());
        if loopback || self.truth(allowed_by) {
            return Ok(true);
        }
        Err(format!("its endpoint {host} is reached over plain http; {allowed_by}=true would allow that"))
    }

    fn retry(&self) -> RetryConfig {
        let Patience { retries, first_wait, within } = self.0.patience;
        RetryConfig {
            backoff: BackoffConfig {
                init_backoff: first_wait,
                max_backoff: Duration::from_secs(15),
                base: 2.,
            },
            max_retries: retries,
            retry_timeout: within,
        }
    }

    pub(super) fn patience(&self) -> Patience {
        self.0.patience
    }

    /// The folder of uploads under way.
    pub(super) fn uploads(&self) -> PathBuf {
        self.0.state.join("uploads")
    }

    pub(super) fn runtime(&self) -> Result<&Runtime, String> {
        if let Some(runtime) = self.0.runtime.get() {
            return Ok(runtime);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("keyward-store")
            .enable_all()
            .build()
            .map_err(|error| format!("no thread could be started: {error}"))?;
        Ok(self.0.runtime.get_or_init(|| runtime))
    }

    /// Waits for work of a store.
    pub(super) fn wait<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let runtime = self.runtime().map_err(|reason| Error::io("", std::io::Error::other(reason)))?;
        runtime.block_on(work)
    }
}

/// No bound on a whole transfer, whose size we do not know, but one on silence.
fn options() -> ClientOptions {
    ClientOptions::new()
        .with_timeout_disabled()
        .with_connect_timeout(Duration::from_secs(10))
        .with_read_timeout(Duration::from_secs(60))
        .with_default_content_type("application/octet-stream")
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Variables hold credentials.
        f.debug_struct("Stores").field("state", &self.0.state).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stores(variables: &[(&str, &str)]) -> Stores {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Stores::new(variables.iter().map(owned), "state")
    }

    const AWS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "an-id"), ("AWS_SECRET_ACCESS_KEY", "a-secret")];

    #[test]
    fn names_of_places() {
        let stores = stores(&AWS);
        for name in ["s3://bucket/a", "s3://bucket/a b/ä.age", "s3://bucket/", "s3://b-1.x/%41/~"] {
            let place = stores.place(name).unwrap();
            assert_eq!((place.to_string().as_str(), place.path()), (name, None));
        }
        assert_eq!(stores.place("s3://bucket").unwrap().to_string(), "s3://bucket/");
        let place = stores.place("s3://bucket/dir/a.age").unwrap();
        assert_eq!(place.name(), "a.age");
        assert_eq!(place.sibling(".receipt").to_string(), "s3://bucket/dir/a.age.receipt");
        for name in ["a", "./s3://x", "/tmp/a://b", "s3:/bucket/a", ":", ""] {
            assert_eq!(stores.place(name).unwrap().path(), Some(Path::new(name)), "{name}");
        }
        for name in [
            "s3://",
            "s3:///a",
            "s3://b/../a",
            "s3://b//a",
            "s3://b/a//c",
            "s3://a:b@c/d",
            "ftp://a/b",
            "https://a/b",
        ] {
            assert!(matches!(stores.place(name), Err(Error::Place { .. })), "{name}");
        }
        let other = stores.place("s3://bucket/dir/b.age").unwrap();
        assert!(place < other && place == stores.place("s3://bucket/dir/a.age").unwrap());
        assert!(Place::from(Path::new("z")) < place);
    }

    #[test]
    fn plain_http_stays_on_this_machine_unless_it_is_asked_for() {
        let with = |endpoint, more: &[(&str, &str)]| {
            let mut all = AWS.to_vec();
            all.push(("AWS_ENDPOINT_URL", endpoint));
            all.extend_from_slice(more);
            stores(&all).place("s3://bucket/a")
        };
        for here in ["http://127.0.0.1:5000", "http://localhost:1/x", "http://[::1]:9", "https://example.org"]
        {
            assert!(with(here, &[]).is_ok(), "{here}");
        }
        for away in ["http://example.org", "http://127.0.0.1.example.org", "http://localhost@example.org:1"] {
            let refused = with(away, &[]).unwrap_err().to_string();
            assert!(refused.contains("AWS_ALLOW_HTTP"), "{refused}");
            assert!(with(away, &[("AWS_ALLOW_HTTP", "true")]).is_ok());
        }
    }

    #[test]
    fn azure_by_a_connection_string_or_by_parts() {
        let string = "DefaultEndpointsProtocol=https;AccountName=me;AccountKey=c2VjcmV0;EndpointSuffix=core.windows.net";
        let from_string = stores(&[("AZURE_STORAGE_CONNECTION_STRING", string)]);
        let settings = from_string.azure().unwrap();
        assert_eq!(settings["endpoint"], "https://me.blob.core.windows.net");
        assert_eq!(settings["access_key"], "c2VjcmV0");
        from_string.place("az://box/a").unwrap();
        let parts = [("AZURE_STORAGE_ACCOUNT", "you"), ("AZURE_STORAGE_KEY", "a2V5")];
        assert_eq!(stores(&parts).azure().unwrap()["account_name"], "you");
        stores(&parts).place("az://box/a").unwrap();
        let emulator = stores(&[("AZURE_STORAGE_CONNECTION_STRING", "UseDevelopmentStorage=true")]);
        assert_eq!(emulator.azure().unwrap()["endpoint"], "http://127.0.0.1:10000/devstoreaccount1");
        let broken = stores(&[("AZURE_STORAGE_CONNECTION_STRING", "AccountKey=c2VjcmV0;nonsense")]);
        let refused = broken.place("az://box/a").unwrap_err().to_string();
        assert!(!refused.contains("c2VjcmV0") && !refused.contains("nonsense"), "{refused}");
    }

    #[test]
    fn nothing_that_is_shown_has_a_secret_in_it() {
        let stores = stores(&AWS);
        let place = stores.place("s3://bucket/a").unwrap();
        let shown = format!("{stores:?} {place:?} {place}");
        assert!(
            shown.contains("s3://bucket/a") && !shown.contains("a-secret") && !shown.contains("an-id"),
            "{shown}"
        );
    }
}
