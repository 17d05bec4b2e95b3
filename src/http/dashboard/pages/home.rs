//! The front page of the provider's desk.

use askama::Template;

use super::frame::Frame;

/// One service of the catalog, in short.
#[derive(Debug, Clone)]
pub struct HomeService {
    /// Its name.
    pub name: String,
    /// One sentence.
    pub description: String,
    /// Its plans' prices in words: `free`, `from $9.00 a month`, `$0.50 per 1,000 requests`.
    pub price: String,
}

/// `GET /`.
#[derive(Debug, Clone, Template)]
#[template(path = "home.html")]
pub struct HomePage {
    /// Whose page.
    pub frame: Frame,
    /// The base URL, without a slash at the end.
    pub base_url: String,
    /// The number of the published revision.
    pub catalog_version: u64,
    /// What is sold; may be empty.
    pub services: Vec<HomeService>,
}
