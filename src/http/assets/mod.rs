//! Stylesheet, icon and scripts, inside the binary, under names that hold the hash of their content.
//!
//! A name never shows two contents, so browsers may keep what they have for a year. The gzip form is made once, at
//! the first use. Nothing here is private. One file is not ours: htmx, byte for byte as its authors published it, with
//! its licence beside this module. `tests/vendored.sh` compares it with the package.

use std::borrow::Cow;
use std::io::Write as _;
use std::sync::LazyLock;

use actix_web::http::header;
use actix_web::web::{self, Bytes};
use actix_web::{HttpRequest, HttpResponse};
use flate2::Compression;
use flate2::write::GzEncoder;

#[derive(rust_embed::Embed)]
#[folder = "$CARGO_MANIFEST_DIR/src/http/assets/files"]
struct Files;

/// The behaviour of the dashboard: `dist/htmx.min.js` of the npm package `htmx.org`, version 4.0.1 (0BSD).
pub const HTMX: &str = "htmx-4.0.1.min.js";

/// A year, and no question in between (RFC 8246).
const FOREVER: &str = "public, max-age=31536000, immutable";

struct Asset {
    name: String,
    hashed_name: String,
    hash: String,
    content_type: &'static str,
    plain: Bytes,
    gzip: Option<Bytes>,
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| Files::iter().filter_map(|name| Asset::load(&name)).collect());

/// Where the file `name` of the assets folder is served: `portreeve.css` → `/assets/portreeve.<hash>.css`.
///
/// A name that does not exist gives a path that is not served; the tests of the pages hold that none is used.
#[must_use]
pub fn asset_url(name: &str) -> String {
    let served = ASSETS.iter().find(|asset| asset.name == name).map_or(name, |asset| &asset.hashed_name);
    format!("/assets/{served}")
}

/// Mounts `/assets/{name}`.
pub fn configure(config: &mut web::ServiceConfig) {
    config.service(web::resource("/assets/{name}").get(serve_asset));
}

/// Answers with the asset of that hashed name, or 404.
pub async fn serve_asset(name: web::Path<String>, request: HttpRequest) -> HttpResponse {
    match ASSETS.iter().find(|asset| asset.hashed_name == *name) {
        Some(asset) => asset.answer(&request),
        None => HttpResponse::NotFound().insert_header((header::CACHE_CONTROL, "no-store")).finish(),
    }
}

impl Asset {
    fn load(name: &str) -> Option<Self> {
        let file = Files::get(name)?;
        let digest = file.metadata.sha256_hash();
        let hash = format!("{:016x}", u64::from_be_bytes(*digest.first_chunk()?));
        let (stem, extension) = name.rsplit_once('.')?;
        let plain = match file.data {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => Bytes::from(bytes),
        };
        Some(Self {
            name: name.to_owned(),
            hashed_name: format!("{stem}.{hash}.{extension}"),
            content_type: content_type(extension),
            gzip: gzip(&plain).filter(|small| small.len() < plain.len()),
            plain,
            hash,
        })
    }

    fn answer(&self, request: &HttpRequest) -> HttpResponse {
        let gzip = self.gzip.as_ref().filter(|_| accepts_gzip(request));
        let etag = if gzip.is_some() { format!("\"{}-gzip\"", self.hash) } else { format!("\"{}\"", self.hash) };
        let known = header_text(request, &header::IF_NONE_MATCH).split(',').any(|tag| tag.trim() == etag);
        let mut answer = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
        answer
            .insert_header((header::CACHE_CONTROL, FOREVER))
            .insert_header((header::ETAG, etag))
            .insert_header((header::VARY, "accept-encoding"))
            .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .insert_header((header::CONTENT_TYPE, self.content_type));
        match gzip {
            _ if known => answer.finish(),
            Some(small) => answer.insert_header((header::CONTENT_ENCODING, "gzip")).body(small.clone()),
            None => answer.body(self.plain.clone()),
        }
    }
}

fn content_type(extension: &str) -> &'static str {
    match extension {
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

fn gzip(plain: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).and_then(|()| encoder.finish()).ok().map(Bytes::from)
}

fn header_text<'a>(request: &'a HttpRequest, name: &header::HeaderName) -> &'a str {
    request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Whether `Accept-Encoding` names gzip without weight zero (RFC 9110 §12.5.3).
fn accepts_gzip(request: &HttpRequest) -> bool {
    header_text(request, &header::ACCEPT_ENCODING).split(',').any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.trim_matches(['0', '.']).is_empty());
        name.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::StatusCode;
    use actix_web::test::TestRequest;
    use actix_web::{App, test};

    async fn answer(request: TestRequest) -> actix_web::dev::ServiceResponse {
        let app = test::init_service(App::new().configure(configure)).await;
        test::call_service(&app, request.to_request()).await
    }

    fn header_of(answer: &actix_web::dev::ServiceResponse, name: header::HeaderName) -> String {
        answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    }

    #[actix_web::test]
    async fn a_hashed_name_may_be_kept_for_ever() {
        let url = asset_url("portreeve.css");
        assert!(url.starts_with("/assets/portreeve.") && url.len() == "/assets/portreeve..css".len() + 16, "{url}");
        let plain = answer(TestRequest::get().uri(&url)).await;
        assert_eq!(plain.status(), StatusCode::OK);
        assert_eq!(header_of(&plain, header::CACHE_CONTROL), FOREVER);
        assert_eq!(header_of(&plain, header::X_CONTENT_TYPE_OPTIONS), "nosniff");
        assert_eq!(header_of(&plain, header::CONTENT_TYPE), "text/css; charset=utf-8");
        let body = test::read_body(plain).await;
        assert_eq!(&*body, include_bytes!("files/portreeve.css"));
    }

    #[actix_web::test]
    async fn htmx_is_the_published_file_and_is_served_as_a_script() {
        let file = Files::get(HTMX).unwrap();
        // When it is replaced: with the package's own file, and `tests/vendored.sh` compares them.
        assert_eq!(
            crate::secret::sha256_name(&file.data),
            "sha256:a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130"
        );
        assert!(include_str!("htmx.LICENSE").starts_with("Zero-Clause BSD"));
        let script = answer(TestRequest::get().uri(&asset_url(HTMX))).await;
        assert_eq!(header_of(&script, header::CONTENT_TYPE), "text/javascript; charset=utf-8");
        assert_eq!(test::read_body(script).await, *file.data);
    }

    #[actix_web::test]
    async fn the_gzip_form_is_smaller_and_has_its_own_tag() {
        let url = asset_url("portreeve.css");
        let small = answer(TestRequest::get().uri(&url).insert_header(("accept-encoding", "br, gzip"))).await;
        assert_eq!(header_of(&small, header::CONTENT_ENCODING), "gzip");
        let tag = header_of(&small, header::ETAG);
        let plain = answer(TestRequest::get().uri(&url).insert_header(("accept-encoding", "gzip;q=0"))).await;
        assert_ne!(header_of(&plain, header::ETAG), tag);
        assert!(test::read_body(small).await.len() * 2 < test::read_body(plain).await.len());
        let again = TestRequest::get().uri(&url).insert_header(("accept-encoding", "gzip"));
        let again = answer(again.insert_header(("if-none-match", tag))).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    }

    #[actix_web::test]
    async fn an_unhashed_or_unknown_name_is_not_served() {
        for path in ["/assets/portreeve.css", "/assets/..%2fmod.rs", "/assets/portreeve.0000000000000000.css"] {
            assert_eq!(answer(TestRequest::get().uri(path)).await.status(), StatusCode::NOT_FOUND, "{path}");
        }
    }
}
