//! The published catalog: bytes that were prepared at publish time, the same for every caller.

use actix_web::http::header;
use actix_web::web::{Bytes, Data, Path};
use actix_web::{HttpRequest, HttpResponse, web};

use crate::app::App;
use crate::catalog::{Edition, Version};
use crate::http::problem::{Problem, table};

/// Which form of an edition.
#[derive(Clone, Copy)]
enum Form {
    Document,
    Jws,
}

/// Routes.
pub(crate) fn configure(config: &mut web::ServiceConfig) {
    for (path, form) in [("/catalog", Form::Document), ("/catalog.jws", Form::Jws)] {
        let serve =
            move |app: Data<App>, request: HttpRequest| async move { answer(&app.edition(), form, &request, false) };
        config
            .service(web::resource(path).get(serve).route(web::method(actix_web::http::Method::OPTIONS).to(preflight)));
    }
    for (path, form) in
        [("/catalog/revisions/{version}", Form::Document), ("/catalog/revisions/{version}/jws", Form::Jws)]
    {
        let serve = move |app: Data<App>, version: Path<String>, request: HttpRequest| async move {
            let edition = revision(&app, &version).await?;
            Ok::<_, Problem>(answer(&edition, form, &request, true))
        };
        config.service(web::resource(path).get(serve));
    }
}

/// Browsers ask first when a page of another origin reads the catalog with `If-None-Match`.
async fn preflight() -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
        .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD"))
        .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, "if-none-match"))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, "86400"))
        .finish()
}

async fn revision(app: &App, version: &str) -> Result<std::sync::Arc<Edition>, Problem> {
    let missing = || Problem::new(&table::NOT_FOUND, "There is no such revision of the catalog.");
    let number: i64 = version.parse().map_err(|_not_a_number| missing())?;
    let version = Version::try_from(number).map_err(|_not_a_version| missing())?;
    app.edition_of(version).await?.ok_or_else(missing)
}

fn answer(edition: &Edition, form: Form, request: &HttpRequest, immutable: bool) -> HttpResponse {
    let (content_type, plain, gzip, brotli) = match form {
        Form::Document => ("application/json", &edition.bytes, &edition.gzip, &edition.brotli),
        Form::Jws => ("application/jose+json", &edition.jws, &edition.jws_gzip, &edition.jws_brotli),
    };
    let (bytes, coding) = negotiate(request, plain, gzip, brotli);
    let etag = tag(edition, form, coding);
    let mut builder = if matches(request, &etag) { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    let cache = if immutable { "public, max-age=31536000, immutable" } else { "public, max-age=60" };
    builder
        .insert_header((header::ETAG, etag.clone()))
        .insert_header((header::CACHE_CONTROL, cache))
        .insert_header((header::VARY, "accept-encoding"))
        .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
        .insert_header((header::ACCESS_CONTROL_EXPOSE_HEADERS, "etag, link"))
        .insert_header((header::LINK, "</catalog.jws>; rel=\"alternate\", </oauth/jwks>; rel=\"jwks\""));
    if matches(request, &etag) {
        return builder.finish();
    }
    if let Some(coding) = coding {
        builder.insert_header((header::CONTENT_ENCODING, coding));
    }
    builder.content_type(content_type).body(bytes.clone())
}

/// Strong, one for each representation: the digest names the document; coded bytes are other bytes.
fn tag(edition: &Edition, form: Form, coding: Option<&str>) -> String {
    let coding = coding.map(|coding| format!("-{coding}")).unwrap_or_default();
    match form {
        Form::Document => format!("\"{}{coding}\"", edition.digest),
        Form::Jws => format!("\"{}-jws{coding}\"", edition.digest),
    }
}

/// RFC 9110 §13.1.2: any of the listed tags, compared weakly; or `*`.
fn matches(request: &HttpRequest, etag: &str) -> bool {
    let listed = request.headers().get_all(header::IF_NONE_MATCH).filter_map(|value| value.to_str().ok());
    listed
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|one| one == "*" || one.trim_start_matches("W/") == etag)
}

/// The best coding that was prepared and is accepted (RFC 9110 §12.5.3).
fn negotiate<'a>(
    request: &HttpRequest,
    plain: &'a Bytes,
    gzip: &'a Bytes,
    brotli: &'a Bytes,
) -> (&'a Bytes, Option<&'static str>) {
    let accepted = request.headers().get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or("");
    let accepts = |coding: &str| {
        accepted.split(',').any(|item| {
            let mut parts = item.split(';').map(str::trim);
            let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(coding));
            named && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
        })
    };
    if accepts("br") {
        (brotli, Some("br"))
    } else if accepts("gzip") {
        (gzip, Some("gzip"))
    } else {
        (plain, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn coding(accepted: Option<&str>) -> Option<&'static str> {
        let mut request = TestRequest::default();
        if let Some(accepted) = accepted {
            request = request.insert_header((header::ACCEPT_ENCODING, accepted));
        }
        let [plain, gzip, brotli] = ["plain", "gzip", "brotli"].map(|text| Bytes::from_static(text.as_bytes()));
        let (bytes, coding) = negotiate(&request.to_http_request(), &plain, &gzip, &brotli);
        let expected = match coding {
            Some("br") => &brotli,
            Some(_) => &gzip,
            None => &plain,
        };
        assert_eq!(bytes, expected, "the bytes are those of the coding");
        coding
    }

    #[test]
    fn the_best_accepted_coding_is_served_and_none_to_who_names_none() {
        for (accepted, expected) in [
            ("br", Some("br")),
            ("gzip, deflate, br, zstd", Some("br")),
            ("gzip;q=1.0, BR;q=0.5", Some("br")),
            ("gzip , br;q=0", Some("gzip")),
            ("br; q=0.000, gzip;q=0", None),
            ("x-gzip, brotli", None),
            ("identity", None),
            ("", None),
        ] {
            assert_eq!(coding(Some(accepted)), expected, "{accepted:?}");
        }
        assert_eq!(coding(None), None);
    }

    #[test]
    fn a_listed_tag_matches_whole_and_also_when_weak() {
        let known = |values: &[&str]| {
            let request = values
                .iter()
                .fold(TestRequest::default(), |request, value| request.append_header((header::IF_NONE_MATCH, *value)));
            matches(&request.to_http_request(), "\"abc-br\"")
        };
        for good in ["\"abc-br\"", "W/\"abc-br\"", "\"x\", \"abc-br\"", " \"x\" ,W/\"abc-br\" ", "*"] {
            assert!(known(&[good]), "{good}");
        }
        for bad in ["\"abc\"", "\"abc-gzip\"", "abc-br", "\"ABC-BR\"", "\"abc-br", ""] {
            assert!(!known(&[bad]), "{bad}");
        }
        assert!(known(&["\"x\"", "\"abc-br\""]), "in a second header line");
        assert!(!known(&[]));
    }
}
