//! One revision, ready to be served and sold from: its bytes compressed once, its offers read from those bytes.

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::names::{PlanId, ServiceId};
use super::published::{Document, Version};
use super::rules::PlanRef;
use super::service::{Plan, Service};
use super::store::Row;
use super::wire_services::{WireService, wire_services};
use super::words::{KycField, Scope};
use crate::clock::Timestamp;
use crate::secret::sha256_name;
use crate::signing::parse_strict;

/// A revision. Made once, then held behind an `Arc`; the bytes are cheap to clone.
#[derive(Debug, Clone)]
pub struct Edition {
    /// Its number.
    pub version: Version,
    /// `sha256:` and the digest of `bytes` in hexadecimal; between quotation marks it is the strong ETag.
    pub digest: String,
    /// The digest of what is said, without version and times.
    pub content_digest: String,
    /// The document, RFC 8785 canonical JSON.
    pub bytes: Bytes,
    /// `bytes`, gzip.
    pub gzip: Bytes,
    /// `bytes`, brotli.
    pub brotli: Bytes,
    /// The general JWS (RFC 7515 §7.2.1) whose payload is `bytes`.
    pub jws: Bytes,
    /// `jws`, gzip.
    pub jws_gzip: Bytes,
    /// `jws`, brotli.
    pub jws_brotli: Bytes,
    /// When it was signed.
    pub issued_at: Timestamp,
    /// When it is no longer to be believed.
    pub expires_at: Timestamp,
    /// The document as it reads.
    pub document: Document,
    /// The same on the orchestrators' wire, sorted by id.
    pub wire_services: Vec<WireService>,
    offers: BTreeMap<ServiceId, BTreeMap<PlanId, Offer>>,
}

/// One plan as a revision offers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Of which service.
    pub service: ServiceId,
    /// The service's title.
    pub service_title: String,
    /// Whether what was bought cannot be given back.
    pub irreversible: bool,
    /// Where its limits and exclusions count.
    pub scope: Scope,
    /// What has to be known about a buyer.
    pub kyc: Vec<KycField>,
    /// What is bought and what it costs.
    pub plan: Plan,
}

impl Offer {
    /// Its name in the whole catalog.
    #[must_use]
    pub fn name(&self) -> PlanRef {
        PlanRef::new(&self.service, &self.plan.id)
    }
}

/// A stored revision is not what it was when it was published. A human has to look.
#[derive(Debug, thiserror::Error)]
pub enum BrokenRevision {
    /// The bytes have another digest.
    #[error("catalog_revisions, version {0}: the document does not have the digest that stands beside it")]
    Digest(Version),
    /// The bytes do not read as a catalog.
    #[error("catalog_revisions, version {0}: the document cannot be read")]
    Document(Version, #[source] serde_json::Error),
    /// The columns and the document differ.
    #[error("catalog_revisions, version {0}: the document states another version or time than its row")]
    Columns(Version),
    /// The bytes could not be compressed.
    #[error("catalog_revisions, version {0}: the document could not be compressed")]
    Compress(Version, #[source] io::Error),
}

impl Edition {
    /// Makes a stored revision ready. Slow (it compresses): once per revision, outside any transaction.
    ///
    /// # Errors
    /// When the row is not what was published.
    pub(super) fn from_row(row: Row) -> Result<Self, BrokenRevision> {
        let version = row.version;
        if sha256_name(&row.document) != row.digest {
            return Err(BrokenRevision::Digest(version));
        }
        let document: Document =
            parse_strict(&row.document).map_err(|error| BrokenRevision::Document(version, error))?;
        if (document.version, document.issued_at, document.expires_at) != (version, row.issued_at, row.expires_at) {
            return Err(BrokenRevision::Columns(version));
        }
        let failed = |error| BrokenRevision::Compress(version, error);
        Ok(Self {
            version,
            digest: row.digest,
            content_digest: row.content_digest,
            gzip: gzip(&row.document).map_err(failed)?,
            brotli: brotli(&row.document).map_err(failed)?,
            jws_gzip: gzip(&row.jws).map_err(failed)?,
            jws_brotli: brotli(&row.jws).map_err(failed)?,
            bytes: row.document.into(),
            jws: row.jws.into(),
            issued_at: row.issued_at,
            expires_at: row.expires_at,
            offers: offers(&document.services),
            wire_services: wire_services(&document),
            document,
        })
    }

    /// The plan as this revision offers it.
    #[must_use]
    pub fn plan(&self, service: &ServiceId, plan: &PlanId) -> Option<&Offer> {
        self.offers.get(service)?.get(plan)
    }

    /// Every offer, by service and plan.
    pub fn offers(&self) -> impl Iterator<Item = &Offer> {
        self.offers.values().flat_map(BTreeMap::values)
    }

    /// The strong entity tag (RFC 9110 §8.8.3), quotation marks included.
    #[must_use]
    pub fn etag(&self) -> String {
        format!("\"{}\"", self.digest)
    }
}

fn offers(services: &[Service]) -> BTreeMap<ServiceId, BTreeMap<PlanId, Offer>> {
    let of_service = |service: &Service| {
        let offers = service.plans().iter().map(|plan| {
            let offer = Offer {
                service: service.id().clone(),
                service_title: service.facts().title.to_string(),
                irreversible: service.irreversible(),
                scope: service.facts().scope,
                kyc: service.facts().kyc.clone(),
                plan: plan.clone(),
            };
            (plan.id.clone(), offer)
        });
        (service.id().clone(), offers.collect())
    };
    services.iter().map(of_service).collect()
}

fn gzip(bytes: &[u8]) -> io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish().map(Bytes::from)
}

fn brotli(bytes: &[u8]) -> io::Result<Bytes> {
    let mut compressed = Vec::new();
    // Quality 9: the last two levels take many times as long for one or two percent.
    let parameters = brotli::enc::BrotliEncoderParams { quality: 9, ..Default::default() };
    brotli::BrotliCompress(&mut &*bytes, &mut compressed, &parameters)?;
    Ok(compressed.into())
}
