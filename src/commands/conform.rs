//! `portreeve conform`: the conformance runner from the command line.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use portreeve::secret::Secret;
use portreeve::simulator::conformance::{
    self, CaseReport, Options, Outcome, Profile, Report, RunError, V2Mode, V2Options,
};
use url::Url;

use super::{Failure, say};

#[derive(Debug, Args)]
pub(crate) struct ConformArgs {
    /// The provider's base URL: what stands before /provisioning.
    #[arg(long, value_name = "URL", required_unless_present = "list")]
    target: Option<Url>,
    /// A signing secret that the provider accepts (whsec_…). Repeatable; the first signs.
    #[arg(long, value_name = "TEXT", env = "PORTREEVE_CONFORM_SECRET", hide_env_values = true)]
    secret: Vec<String>,
    /// The token endpoint, if it is not TARGET/oauth/token.
    #[arg(long, value_name = "URL")]
    token_url: Option<Url>,
    /// The shapes to expect: a date, `generic`, or `any`.
    #[arg(long, value_name = "NAME", default_value = "any")]
    profile: Profile,
    /// Only this group, or this case. Repeatable.
    #[arg(long, value_name = "GROUP")]
    only: Vec<String>,
    /// List the cases instead of running them.
    #[arg(long)]
    list: bool,
    /// Write the results as JUnit XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write the results as one page for people.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Allow plain HTTP and addresses of this machine or network for the hosts named here.
    #[arg(long)]
    allow_loopback: bool,
    /// `orchestrator.type` of account requests.
    #[arg(long, value_name = "TYPE", default_value = "stripe")]
    orchestrator_type: String,
    /// The client id of a public client (profile generic).
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// What the provider does with Stripe-Signature-V2.
    #[arg(long, value_name = "MODE", default_value = "none")]
    v2_mode: V2Choice,
    /// The Ed25519 key of Stripe-Signature-V2, as PKCS #8 (PEM or DER). Without one, a new key is made.
    #[arg(long, value_name = "FILE")]
    v2_key: Option<PathBuf>,
    /// Serve /v2/provisioning/public_keys here, for the provider to fetch.
    #[arg(long, value_name = "ADDR")]
    v2_listen: Option<SocketAddr>,
    /// The bearer token with which the provider fetches the keys.
    #[arg(long, value_name = "TEXT", env = "PORTREEVE_CONFORM_V2_TOKEN", hide_env_values = true)]
    v2_token: Option<String>,
    /// Where payment tokens are made: POST {"currency","max_amount","subject"} gives {"payment_token"}.
    #[arg(long, value_name = "URL")]
    payment_tokens: Option<Url>,
    /// The bearer token with which they are asked for.
    #[arg(long, value_name = "TEXT", env = "PORTREEVE_CONFORM_PAYMENT_TOKENS_BEARER", hide_env_values = true)]
    payment_tokens_bearer: Option<String>,
    /// The currency of the payment tokens.
    #[arg(long, value_name = "CODE", default_value = "USD")]
    currency: String,
    /// The limit of a payment token that is meant to be enough, in minor units.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    payment_limit: u64,
    /// The domain of the e-mail addresses that are made up.
    #[arg(long, value_name = "DOMAIN", default_value = "example.com")]
    email_domain: String,
    /// The e-mail address of somebody who has an account already.
    #[arg(long, value_name = "EMAIL")]
    existing_email: Option<String>,
    /// The provider links existing accounts without asking, and means to.
    #[arg(long)]
    allow_silent_link: bool,
    /// The service to make resources of, instead of the plainest free one.
    #[arg(long, value_name = "ID")]
    service: Option<String>,
    /// The configuration to send for a service. Repeatable.
    #[arg(long, value_name = "SERVICE=JSON", value_parser = configuration)]
    configuration: Vec<(String, serde_json::Value)>,
    /// Calls per second.
    #[arg(long, value_name = "N", default_value_t = 20)]
    rate: u32,
    /// The limit of one call, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    timeout: u64,
    /// The longest Retry-After that is waited for, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    patience: u64,
    /// The most calls of a run.
    #[arg(long, value_name = "N", default_value_t = 3000)]
    max_calls: u32,
    /// The most calls with which a rate limit is looked for.
    #[arg(long, value_name = "N", default_value_t = 80)]
    burst: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum V2Choice {
    None,
    Advisory,
    Required,
}

fn configuration(text: &str) -> Result<(String, serde_json::Value), String> {
    let (service, json) = text.split_once('=').ok_or("write SERVICE=JSON")?;
    let value = serde_json::from_str(json).map_err(|error| format!("no JSON after `{service}=`: {error}"))?;
    Ok((service.to_owned(), value))
}

pub(crate) async fn run(args: ConformArgs, json: bool) -> Result<(), Failure> {
    if args.list {
        return list(json);
    }
    let (junit, html) = (args.junit.clone(), args.html.clone());
    let mut done = 0;
    let progress = |case: &CaseReport| {
        done += 1;
        let mark = match case.outcome {
            Outcome::Pass => "ok  ",
            Outcome::Fail(_) => "FAIL",
            Outcome::NotApplicable { .. } => "n/a ",
        };
        // Nothing can be told when standard error is gone.
        let _ = writeln!(std::io::stderr(), "{done:>4} {mark} {}", case.id);
    };
    let report = conformance::run(options(args)?, progress).await.map_err(failure)?;
    if let Some(file) = junit {
        std::fs::write(file, report.to_junit())?;
    }
    if let Some(file) = html {
        std::fs::write(file, report.to_html()?)?;
    }
    if json {
        say(&serde_json::to_string(&report)?)?;
    } else {
        print(&report)?;
    }
    match report.counts.fail {
        0 => Ok(()),
        count => Err(Failure::findings(format!("{count} of {} cases failed", report.counts.all()))),
    }
}

fn failure(error: RunError) -> Failure {
    match error {
        RunError::NoSecret
        | RunError::NoClient
        | RunError::NoSuchCase(_)
        | RunError::Forbidden(_)
        | RunError::Key(_)
        | RunError::Url(_) => Failure::usage(error.to_string()),
        other => Failure::failed(other),
    }
}

fn options(args: ConformArgs) -> Result<Options, Failure> {
    let target = args.target.ok_or_else(|| Failure::usage("--target is missing"))?;
    let secrets = args.secret.iter().map(|text| Secret::presented(text)).collect();
    let mode = match args.v2_mode {
        V2Choice::None => None,
        V2Choice::Advisory => Some(V2Mode::Advisory),
        V2Choice::Required => Some(V2Mode::Required),
    };
    let v2 = match mode {
        None => None,
        Some(mode) => {
            let key = args.v2_key.as_ref().map(std::fs::read).transpose()?;
            let token = match (&args.v2_token, args.v2_listen) {
                (None, Some(_)) => return Err(Failure::usage("--v2-listen needs --v2-token")),
                (token, _) => Secret::presented(token.as_deref().unwrap_or("")),
            };
            Some(V2Options { mode, key, listen: args.v2_listen, token })
        }
    };
    Ok(Options {
        token_url: args.token_url,
        profile: args.profile,
        only: args.only,
        orchestrator_type: args.orchestrator_type,
        client_id: args.client_id,
        v2,
        payment_tokens: args.payment_tokens,
        payment_tokens_bearer: args.payment_tokens_bearer.as_deref().map(Secret::presented),
        currency: args.currency,
        payment_limit: args.payment_limit,
        email_domain: args.email_domain,
        existing_email: args.existing_email,
        allow_silent_link: args.allow_silent_link,
        service: args.service,
        configurations: args.configuration.into_iter().collect(),
        rate: Some(args.rate),
        timeout: Duration::from_secs(args.timeout),
        patience: Duration::from_secs(args.patience),
        max_calls: args.max_calls,
        burst: args.burst,
        allow_loopback: args.allow_loopback,
        ..Options::new(target, secrets)
    })
}

fn list(json: bool) -> Result<(), Failure> {
    for case in conformance::cases() {
        if json {
            let line =
                serde_json::json!({"id": case.id, "group": case.group, "title": case.title, "origin": case.origin});
            say(&line.to_string())?;
        } else {
            say(&case.line())?;
        }
    }
    Ok(())
}

fn print(report: &Report) -> Result<(), Failure> {
    for case in report.failed() {
        let Some(finding) = case.finding() else { continue };
        say(&format!("\nFAIL {}: {}", case.id, case.title))?;
        say(&format!("  rule      {}", case.origin))?;
        say(&format!("  expected  {}", visible(&finding.expected)))?;
        let when = if finding.preparing { " (while preparing the case)" } else { "" };
        say(&format!("  found     {}{when}", visible(&finding.found)))?;
        for (mark, text) in [('>', &finding.request), ('<', &finding.answer)] {
            for line in text.lines() {
                say(&format!("  {mark} {}", visible(line)))?;
            }
        }
    }
    for case in report.not_applicable() {
        say(&format!("n/a  {}: {}", case.id, visible(case.reason().unwrap_or(""))))?;
    }
    say(&format!("\n{:<18} {:>5} {:>5} {:>5}", "group", "pass", "fail", "n/a"))?;
    for group in &report.groups {
        let counts = group.counts;
        say(&format!(
            "{:<18} {:>5} {:>5} {:>5}",
            group.group.title(),
            counts.pass,
            counts.fail,
            counts.not_applicable
        ))?;
    }
    let counts = report.counts;
    say(&format!("{:<18} {:>5} {:>5} {:>5}", "all", counts.pass, counts.fail, counts.not_applicable))?;
    say(&format!("\n{} · profile {} · {}", report.target, report.profile, report.footprint()))
}

/// An answer is whatever the provider sent: it may not steer the terminal.
fn visible(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}
