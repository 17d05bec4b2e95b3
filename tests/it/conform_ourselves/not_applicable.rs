//! The runs of every profile, and what each cannot ask. A case that cannot be asked must stand here.

use std::collections::BTreeSet;

use portreeve::simulator::conformance;

/// One run: how an orchestrator is registered with us, what the runner expects, and what it cannot ask.
pub(super) struct Run {
    /// Our profile: some of the runner's dates share the shapes of one of ours.
    pub(super) ours: &'static str,
    /// The runner's.
    pub(super) profile: &'static str,
    /// `--signatures`.
    pub(super) signatures: &'static str,
    /// `--account-answer`.
    pub(super) answer: &'static str,
    /// All groups, when there are none.
    pub(super) only: &'static [&'static str],
    /// See [`named`].
    pub(super) not_applicable: &'static [&'static [&'static str]],
}

/// Only where a bad second signature is refused.
pub(super) const V2_REQUIRED: &[&str] = &[
    "signature.v2-missing",
    "signature.v2-other-key",
    "signature.v2-other-body",
    "signature.v2-no-digest",
    "signature.v2-other-method",
    "signature.v2-expired",
    "signature.v2-endless",
    "signature.v2-other-version",
    "signature.v2-unsigned",
    "signature.v2-hmac",
];
/// The others of the second signature.
pub(super) const V2: &[&str] = &["signature.v2-good", "signature.v2-advisory"];
/// Shapes that a profile leaves open.
pub(super) const PENDING: &str = "resources.dated-pending";
pub(super) const PRICES: &str = "catalog.dated-prices";
/// Before `constraints` a catalog names no counts and no exclusions.
pub(super) const COUNTS: &[&str] =
    &["resources.at-most", "resources.at-most-after-removal", "resources.exclusion", "races.at-most"];
/// Whose tokens come at once gets no codes.
const CODES: &[&str] = &[
    "token.exchange",
    "token.no-store",
    "token.second-use",
    "token.repeated-parameter",
    "token.unsigned-code",
    "token.signed-form",
    "token.failed-signature-keeps-code",
    "token.code-is-no-access",
];
/// A public client signs nothing,
pub(super) const SIGNING: &[&str] = &[
    "signature.body-changed",
    "signature.raw-bytes",
    "signature.on-account-requests",
    "signature.on-create",
    "signature.on-read",
    "signature.on-update",
    "signature.on-rotate",
    "signature.on-remove",
    "signature.on-deep-links",
    "version.signature-first",
    "token.unsigned-code",
    "token.signed-form",
    "token.failed-signature-keeps-code",
];
/// attests nobody, so that nobody is matched and asked,
pub(super) const ATTESTING: &[&str] = &[
    "accounts.again",
    "accounts.email-case",
    "accounts.existing-user",
    "accounts.organisation",
    "accounts.organization",
    "accounts.no-organization",
    "accounts.no-orchestrator",
    "accounts.no-subject",
    "accounts.empty-subject",
    "consent",
    "!consent.reaches-nothing",
];
/// and has no payment tokens.
pub(super) const PAYING: &[&str] = &[
    "payment.paid",
    "payment.once",
    "payment.after-refusal",
    "payment.limit",
    "payment.limit-nothing-usable",
    "payment.other-user",
    "payment.changed-token",
    "payment.token-not-told",
    "update.allowed",
    "update.paid",
    "resources.exclusion",
];
/// Without a secret it knows one service and no catalog.
pub(super) const CATALOG: &[&str] = &[
    "catalog",
    "payment",
    "signature",
    "!signature.missing",
    "!signature.missing-on-health",
    "version.on-health",
    "resources.needs-parent",
    "resources.wrong-type",
    "resources.missing-required",
    "resources.outside-enum",
    "update.not-allowed",
    "update.not-allowed-keeps",
    "update.unpaid",
    "update.unpaid-keeps",
];

const WHOLE: Run = Run {
    ours: "2026-06-25",
    profile: "2026-06-25",
    signatures: "hmac",
    answer: "oauth",
    only: &[],
    not_applicable: &[],
};

/// Together they ask every case.
pub(super) const SIGNED: [Run; 7] = [
    Run {
        ours: "2026-03-30",
        profile: "2026-03-30",
        not_applicable: &[V2, V2_REQUIRED, COUNTS, &["resources.needs-parent", PENDING, "deep_links.ends"]],
        ..WHOLE
    },
    Run {
        ours: "2026-04-01",
        profile: "2026-04-01",
        not_applicable: &[V2, V2_REQUIRED, COUNTS, &["resources.service-echo", PENDING, PRICES]],
        ..WHOLE
    },
    Run {
        ours: "2026-04-01",
        profile: "2026-04-17",
        not_applicable: &[V2, V2_REQUIRED, COUNTS, &["resources.service-echo", PRICES]],
        ..WHOLE
    },
    Run {
        ours: "2026-04-01",
        profile: "2026-04-30",
        not_applicable: &[V2, V2_REQUIRED, COUNTS, &["resources.service-echo", PENDING, PRICES]],
        ..WHOLE
    },
    Run { signatures: "v2_required", not_applicable: &[&["signature.v2-advisory", PENDING, PRICES]], ..WHOLE },
    Run {
        profile: "any",
        signatures: "v2_advisory",
        not_applicable: &[
            V2_REQUIRED,
            &["catalog.dated-kind", "catalog.dated-scope", "catalog.dated-updates", PENDING, PRICES],
        ],
        ..WHOLE
    },
    Run {
        answer: "credentials",
        only: &["accounts", "consent", "token", "resources"],
        not_applicable: &[CODES, &[PENDING]],
        ..WHOLE
    },
];

/// The cases of these lists: each a case, a whole group, or, after `!`, one that is none of them all the same.
pub(super) fn named(lists: &[&[&'static str]]) -> BTreeSet<&'static str> {
    let (without, with): (Vec<&str>, Vec<&str>) = lists.concat().into_iter().partition(|entry| entry.starts_with('!'));
    let cases = conformance::cases().map(|case| (case.id, case.group.as_str()));
    let wanted = |(id, group): &(&str, &str)| with.contains(id) || with.contains(group);
    let cases: BTreeSet<_> = cases.filter(wanted).map(|(id, _)| id).collect();
    assert!(with.iter().all(|entry| !entry.contains('.') || cases.contains(entry)), "{with:?}");
    cases.into_iter().filter(|id| !without.contains(&format!("!{id}").as_str())).collect()
}
