//! Samples of every page, and what holds for all of them.

use std::path::Path;

use askama::Template;
use chrono::{Days, NaiveDate, TimeDelta};

use super::*;
use crate::clock::{Period, Timestamp};
use crate::http::assets::{HTMX, asset_url};
use crate::money::{Amount, Currency, Money};
use crate::takeover::LinkOver;

const HOSTILE: &str = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>";

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

fn usd(minor: i64) -> Amount {
    Amount::from_minor(minor).unwrap()
}

fn frame() -> Frame {
    Frame { provider: "Acme Cloud".into(), user: Some("ada@example.com".into()) }
}

fn ledger_row(sequence: i64, at_text: &str, kind: &str, description: &str, held: i64, spent: i64) -> LedgerRow {
    let (kind, description) = (kind.to_owned(), description.to_owned());
    LedgerRow { sequence, at: at(at_text), kind, description, held_change: held, spent_change: spent }
}

fn resource(name: &str, service: &str, plan: &str, state: &str, charge: ResourceCharge) -> ResourceRow {
    let created_at = at("2026-11-02T09:00:00Z");
    let [name, service, plan, state] = [name, service, plan, state].map(str::to_owned);
    ResourceRow { id: "res_1".to_owned(), name, service, plan, state, reason: None, charge, created_at }
}

fn activity(at_text: &str, who: &str, what: &str) -> Activity {
    Activity { at: at(at_text), who: who.into(), what: what.into() }
}

fn sample_ledger() -> Ledger {
    let rows = vec![
        ledger_row(48, "2026-11-15T14:03:00Z", "usage", "Weather API, 1,240 requests", 0, 62),
        ledger_row(47, "2026-11-15T11:48:00Z", "hold", "postgres/small, November", 900, 0),
        ledger_row(46, "2026-11-14T20:15:00Z", "capture", "object-storage/standard, November", -400, 400),
        ledger_row(45, "2026-11-14T20:14:00Z", "hold", "object-storage/standard, November", 400, 0),
        ledger_row(44, "2026-11-13T10:20:00Z", "release", "gpu/large was refused by its platform", -3000, 0),
        ledger_row(43, "2026-11-12T08:00:00Z", "refund", "postgres/small, given back", 0, -900),
    ];
    Ledger { rows, older: Some(43), place: Place::Newest }
}

/// The page of the mock, with real figures.
fn sample() -> OverviewPage {
    let now = at("2026-11-15T14:03:00Z");
    let period = Period::month_of(now);
    let spends = [210, 330, 0, 480, 290, 700, 140, 105, 315, 202, 418, 388, 230, 250, 62];
    let first = NaiveDate::from_ymd_opt(2026, 11, 1).unwrap();
    let day = |offset| first.checked_add_days(Days::new(offset)).unwrap();
    let days = (0_u64..).zip(spends).map(|(offset, minor)| DaySpend { day: day(offset), spent: usd(minor) }).collect();
    let token = CeilingKind::PaymentToken { issuer: "Harbour".into(), last4: "9f3c".into() };
    OverviewPage {
        frame: frame(),
        now,
        period,
        currency: Currency::USD,
        budget: Ceiling { kind: CeilingKind::Budget, limit: usd(10_000), spent: usd(4_120), held: usd(900), period },
        ceilings: vec![Ceiling { kind: token, limit: usd(15_000), spent: usd(4_120), held: usd(900), period }],
        stopped_at: None,
        can_resume: false,
        provisional: None,
        sidecars: 0,
        notice: None,
        used: None,
        cap_form: CapForm::default(),
        raise_form: CapForm::default(),
        resources: Resources {
            rows: vec![
                resource("weather-prod", "weather", "metered", "ready", ResourceCharge::Spent(usd(3_120))),
                resource(
                    "fieldnotes-db",
                    "postgres",
                    "small",
                    "provisioning",
                    ResourceCharge::BeingConfirmed { spent: usd(0), held: usd(900) },
                ),
                resource("assets", "object-storage", "standard", "ready", ResourceCharge::Spent(usd(1_000))),
                ResourceRow {
                    reason: Some("the platform did not answer; we keep asking".into()),
                    ..resource("", "gpu", "large", "needs_attention", ResourceCharge::Spent(usd(0)))
                },
                resource("old-key", "weather", "free", "removed", ResourceCharge::Spent(usd(0))),
            ],
            more: 0,
        },
        days,
        ledger: sample_ledger(),
        activity: vec![
            activity("2026-11-15T14:03:00Z", "claude-4", "used 1,240 requests of Weather API: $0.62"),
            activity("2026-11-15T11:48:00Z", "claude-4", "created postgres/small: $9.00 held until it is ready"),
            activity("2026-11-15T09:02:00Z", "You", "lowered the cap from $120.00 to $100.00"),
            activity("2026-11-14T18:00:00Z", "codex-7", "was refused gpu/large: $120.00 needed, $49.80 left"),
            activity("2026-11-02T08:59:00Z", "Harbour", "opened the account for ada@example.com"),
        ],
    }
}

fn unclaimed(opened_by: &str, lower_cap: bool) -> Provisional {
    let now = at("2026-11-15T14:05:00Z");
    Provisional {
        opened_by: opened_by.into(),
        opened_at: now,
        lower_cap,
        highest: usd(10_000),
        buys_until: Some(now.plus(TimeDelta::days(30))),
        max_resources: Some(10),
    }
}

fn empty() -> OverviewPage {
    let page = sample();
    let budget = Ceiling { spent: usd(0), held: usd(0), ..page.budget.clone() };
    let provisional = Provisional { opened_at: page.now.minus(TimeDelta::minutes(2)), ..unclaimed("Harbour", true) };
    OverviewPage {
        budget,
        ceilings: Vec::new(),
        resources: Resources::default(),
        days: Vec::new(),
        ledger: Ledger::default(),
        activity: Vec::new(),
        provisional: Some(provisional),
        ..page
    }
}

fn stopped() -> OverviewPage {
    let page = sample();
    OverviewPage {
        stopped_at: Some(page.now),
        can_resume: true,
        notice: Some(Notice::Done("New spending is stopped. Every purchase is refused from now on.".into())),
        ..page
    }
}

/// The token binds, a period that has no end, a refused form, an older page of the ledger.
fn bound_by_token() -> OverviewPage {
    let mut page = sample();
    for token in &mut page.ceilings {
        token.limit = usd(5_000);
        token.spent = usd(4_120);
        token.held = usd(880);
        token.period = Period::once(token.period.start, Period::FOREVER);
    }
    let problem = Some("$120.00 is more than the cap of $100.00. Type a smaller amount, such as 80.00.".into());
    OverviewPage {
        cap_form: CapForm { typed: "120.00".into(), problem, sure: None },
        notice: Some(Notice::Refused("The cap was not changed.".into())),
        ledger: Ledger { older: None, place: Place::Older, ..sample_ledger() },
        resources: Resources { more: 12, ..page.resources.clone() },
        ..page
    }
}

/// What a script gets after a change: the control that was used keeps the focus.
fn just_changed(used: Control) -> OverviewPage {
    OverviewPage { used: Some(used), notice: Some(Notice::Done("It is done.".into())), ..sample() }
}

/// Older rows for below those that are shown; the last ones.
fn rows_below(older: Option<i64>) -> OverviewPage {
    OverviewPage { ledger: Ledger { older, place: Place::Below, ..sample_ledger() }, ..sample() }
}

/// One purchase on one day, as after the first walk.
fn first_day() -> OverviewPage {
    let page = sample();
    let day = DaySpend { day: NaiveDate::from_ymd_opt(2026, 11, 15).unwrap(), spent: usd(10_000) };
    let budget = Ceiling { spent: usd(10_000), held: usd(0), ..page.budget.clone() };
    OverviewPage { budget, days: vec![day], ceilings: Vec::new(), ..page }
}

/// The sample with `text` in every field that others can fill.
fn filled_with(text: &str) -> OverviewPage {
    let mut page = stopped();
    page.frame = Frame { provider: text.into(), user: Some(text.into()) };
    page.provisional = Some(unclaimed(text, true));
    page.notice = Some(Notice::Refused(text.into()));
    page.cap_form = CapForm { typed: text.into(), problem: Some(text.into()), sure: Some(text.into()) };
    page.ceilings =
        [CeilingKind::Other(text.into()), CeilingKind::PaymentToken { issuer: text.into(), last4: text.into() }]
            .map(|kind| Ceiling { kind, limit: usd(1), ..page.budget.clone() })
            .to_vec();
    for row in &mut page.resources.rows {
        for field in [&mut row.name, &mut row.service, &mut row.plan, &mut row.state] {
            text.clone_into(field);
        }
        row.reason = Some(text.into());
    }
    for row in &mut page.ledger.rows {
        row.kind = text.into();
        row.description = text.into();
    }
    for fact in &mut page.activity {
        fact.who = text.into();
        fact.what = text.into();
    }
    page
}

fn problem() -> ProblemDoc {
    ProblemDoc {
        code: "budget_exceeded",
        status: 402,
        title: "The purchase does not fit under the cap",
        meaning: "What is spent, what is held and this purchase together would pass a ceiling. Nothing was bought or held.",
        causes: &[
            "The price is above what is left in this period.",
            "Another purchase holds money until it is settled.",
        ],
        agent: "Read `binding`, `needed` and `remaining`. Buy less, wait until `resets_at`, or ask your human. Do not repeat it unchanged.",
        human: "Look at the dashboard. The cap blocks on purpose; an agent cannot raise it.",
        retry: false,
    }
}

fn service(name: &str, description: &str, price: &str) -> HomeService {
    HomeService { name: name.into(), description: description.into(), price: price.into() }
}

fn home(provider: &str, services: Vec<HomeService>) -> HomePage {
    HomePage {
        frame: Frame::anonymous(provider),
        base_url: "http://127.0.0.1:8080".into(),
        catalog_version: 42,
        services,
    }
}

fn four_services() -> Vec<HomeService> {
    vec![
        service("Weather API", "Forecasts for any place on earth, by the hour.", "$0.50 per 1,000 requests"),
        service("Postgres", "A database of your own, backed up every night.", "from $9.00 a month"),
        service("Object storage", "Files behind an address, as many as you like.", "from $4.00 a month"),
        service("Sandbox", "Everything above with a daily limit, for trying out.", "free"),
    ]
}

fn rendered(page: &impl Template) -> String {
    page.render().unwrap()
}

fn effect(text: &str, scope: Option<&'static str>, ticked: bool, note: Option<Note>) -> Effect {
    Effect { text: text.into(), scope, ticked, note }
}

fn consent(text: &str) -> ConsentPage {
    let asked_at = Timestamp::from_seconds(1_800_000_000);
    let row = PlanRow { count: 2, name: text.into(), price: text.into(), most: "$18.00".into() };
    ConsentPage {
        frame: frame(),
        asker: text.into(),
        voucher: Voucher::Domain(text.into()),
        client: Some(text.into()),
        warnings: vec!["Nobody checked its name."],
        changed_since: Some(asked_at),
        email: Some(text.into()),
        account: text.into(),
        monthly: Some(Money { amount: usd(4_000), currency: Currency::USD }),
        spends_until: Some(asked_at),
        creates: Some("2 resources".into()),
        asks: "look at your account",
        groups: vec![
            Group { title: "See", effects: vec![effect(text, None, false, Some(Note::Needed))] },
            Group { title: "Create", effects: vec![effect(text, Some("resources:write"), true, Some(Note::New))] },
            Group {
                title: "Delete",
                effects: vec![effect(text, Some("resources:delete"), false, Some(Note::Refused))],
            },
            Group { title: "Spend", effects: vec![effect(text, None, false, Some(Note::With("Create")))] },
        ],
        plan: Some(PlanTable {
            rows: vec![row],
            total: "$18.00".into(),
            lower: Some(Money { amount: usd(1_000), currency: Currency::USD }),
            catalog_version: 42,
        }),
        difference: Some(Difference { new: vec![text.into()], before: vec![text.into(), text.into()] }),
        now: asked_at.plus(TimeDelta::seconds(20)),
        asked_at,
        until: Timestamp::from_seconds(1_800_000_600),
        returns_to: Some(text.into()),
        action: "/consent/oreq_x".into(),
        query: String::new(),
    }
}

fn claim(text: &str, passkey: bool) -> ClaimPage {
    let now = at("2026-11-15T14:05:00Z");
    let agent = |opened| ClaimAgent {
        id: "orch_x".into(),
        name: text.into(),
        opened,
        since: now,
        programs: vec![text.into()],
        last_token_at: Some(now),
        effects: vec!["see the budget and the ledger".into()],
        resources: 2,
        spent: usd(4_120),
    };
    ClaimPage {
        frame: frame(),
        opened_by: text.into(),
        opened_at: now,
        spent: usd(4_120),
        cap: usd(10_000),
        currency: Currency::USD,
        period: Period::month_of(now),
        agents: vec![agent(true), agent(false)],
        clients: vec![text.into()],
        resources: vec![ClaimResource { name: text.into(), plan: text.into(), spent: usd(900) }],
        loses: Some(text.into()),
        passkey,
        to: "/dashboard".into(),
        problem: Some(text.into()),
    }
}

fn claim_start(text: &str, second: Second) -> ClaimStartPage {
    ClaimStartPage {
        frame: frame(),
        opened_by: Some(text.into()),
        email: text.into(),
        mail: true,
        mail_done: false,
        elsewhere: false,
        second,
        to: "/claim".into(),
        query: "?to=%2Fclaim&max_age=300".into(),
        max_age: 300,
    }
}

#[test]
fn nothing_is_ticked_on_the_page_of_a_claim_and_the_numbers_come_first() {
    let html = rendered(&claim("Harbour", false));
    assert_eq!((html.matches("type=\"checkbox\"").count(), html.contains("checked")), (3, false));
    let heading = text_of(html.split("<h1>").nth(1).unwrap().split("</h1>").next().unwrap());
    assert_eq!(
        heading,
        "Harbour opened this account for you. It has 1 resource and spent $41.20 of $100.00 in November 2026."
    );
    assert!(!html.contains("autofocus") && !html.contains("passkeys.js"));
    assert!(rendered(&claim("Harbour", true)).contains("data-passkey=\"claim\""));
}

#[test]
fn whoever_came_from_the_asserting_issuer_needs_no_mail_and_everybody_else_two_proofs() {
    let acme = |opened, done| Second::Upstream { name: "Acme ID".into(), opened, another: false, done };
    let text = |second| rendered(&claim_start("Harbour", second));
    assert!(
        !text(acme(true, false)).contains("name=\"email\"")
            && text(acme(true, false)).contains("Continue with Acme ID")
    );
    let both = text(acme(false, false));
    assert!(both.contains("name=\"email\"") && both.contains("Continue with Acme ID"));
    assert!(!text(acme(false, true)).contains("Continue with Acme ID"));
    assert!(text(Second::Passkey).contains("your device makes a passkey"));
    assert!(text(Second::Nothing).contains("cannot be claimed yet"));
    let elsewhere = ClaimStartPage { mail_done: true, elsewhere: true, ..claim_start("Harbour", Second::Passkey) };
    assert!(rendered(&elsewhere).contains("asked for in another browser"));
}

fn consent_waits(text: &str) -> ConsentWaitsPage {
    let now = Timestamp::from_seconds(1_800_000_000);
    ConsentWaitsPage {
        frame: frame(),
        asker: text.into(),
        now,
        asked_at: now,
        other_asked_at: now.minus(TimeDelta::minutes(3)),
        other: "/consent/oreq_y".into(),
        action: "/consent/oreq_x".into(),
    }
}

#[test]
fn consent_can_be_given_in_part_and_no_is_as_near_as_yes() {
    let html = rendered(&consent("Codex Seven"));
    assert_eq!(html.matches("type=\"checkbox\"").count(), 2, "what is needed and what goes with another has no tick");
    assert_eq!(html.matches(" checked>").count(), 1, "what was refused begins unticked");
    assert!(html.contains("<button class=\"button large\" formaction=\"/consent/oreq_x/deny\">Deny</button>"));
    assert!(html.contains("<button class=\"button large\">Allow</button>"), "the same size and colour");
    assert!(html.find(">Deny<") < html.find(">Allow<"), "Enter presses the first: to deny");
    assert!(!html.contains("autofocus"), "neither is chosen for the human");
    assert_eq!(html.matches("<form").count(), 2, "the answer, and the log-out");
    assert_eq!(html.matches("<img").count(), 0, "never a logo");
    let text = text_of(&html);
    let wanted = "could spend up to $40.00 a month here until 15 Jan 2027, and create 2 resources.";
    assert!(text.contains(wanted) && text.contains("asked 20 seconds ago"), "{text}");
    let groups: Vec<_> =
        ["See", "Create", "Delete", "Spend"].map(|title| html.find(&format!("<legend>{title}<"))).into();
    assert!(groups.iter().all(Option::is_some) && groups.is_sorted(), "{groups:?}");
}

#[test]
fn a_question_that_waits_offers_both() {
    let text = text_of(&rendered(&consent_waits("Codex Seven")));
    assert!(text.contains("Answer the older one") && text.contains("asked 3 minutes ago"), "{text}");
    let now = Timestamp::from_seconds(1_800_000_000);
    let newer = ConsentWaitsPage { other_asked_at: now.plus(TimeDelta::seconds(1)), ..consent_waits("Codex Seven") };
    assert!(text_of(&rendered(&newer)).contains("Answer the newer one"));
}

fn not_mine(text: &str, disputed: Option<bool>, over: Option<LinkOver>) -> NotMinePage {
    NotMinePage {
        frame: Frame::anonymous(text),
        action: format!("/not-mine/{text}"),
        opened_by: text.to_owned(),
        opened_at: at("2026-11-15T14:03:00Z"),
        over,
        disputed: disputed.map(|frozen| Disputed { case: text.to_owned(), at: at("2026-11-16T09:12:00Z"), frozen }),
    }
}

fn device(asker: Option<&str>) -> DevicePage {
    let question = asker.map(|asker| DeviceQuestion {
        asker: asker.into(),
        proven: Some(asker.into()),
        checked: false,
        address: asker.into(),
        effects: vec!["see the budget".into()],
        asked_at: Timestamp::from_seconds(1_800_000_000),
        now: Timestamp::from_seconds(1_800_000_130),
        code: "BCDF-GHJK".into(),
    });
    let problem = question.is_none().then_some("There is no such code.");
    DevicePage { frame: frame(), question, typed: HOSTILE.into(), problem }
}

#[test]
fn a_device_is_shown_with_its_age_and_neither_answer_is_chosen() {
    let html = rendered(&device(Some("Codex Seven")));
    assert!(html.contains("2 minutes ago") && html.contains("formaction=\"/device/deny\">Deny</button>"), "{html}");
    assert!(!html.contains("autofocus"));
}

fn sidecar(text: &str, things: usize) -> SidecarPage {
    let money = |minor| Money { amount: usd(minor), currency: Currency::USD };
    let thing = |at| SidecarThing {
        id: format!("res_{at}"),
        name: text.into(),
        service: text.into(),
        plan: text.into(),
        state: "ready".into(),
        created_at: Timestamp::from_seconds(1_800_000_000),
        spent: money(900),
        ticked: at == 1,
    };
    SidecarPage {
        frame: frame(),
        id: "acct_x".into(),
        orchestrator: text.into(),
        email: text.into(),
        opened_at: Timestamp::from_seconds(1_800_000_000),
        spent: money(900),
        held: money(i64::try_from(things).unwrap()),
        cap: money(2_500),
        own_cap: money(10_000),
        things: (0..things).map(thing).collect(),
        groups: vec![group("Create", "resources:write"), group("See", "budget:read")],
        notice: Some(Notice::Refused(text.into())),
    }
}

fn group(title: &'static str, scope: &'static str) -> Group {
    Group { title, effects: vec![Effect { text: "things".into(), scope: Some(scope), ticked: true, note: None }] }
}

fn sidecars(text: &str, proven: bool) -> SidecarsPage {
    let spent = Money { amount: usd(900), currency: Currency::USD };
    let opened_at = Timestamp::from_seconds(1_800_000_000);
    let row = SidecarRow { id: "acct_x".into(), orchestrator: text.into(), opened_at, things: 2, spent };
    SidecarsPage { frame: frame(), claimed: true, proven, rows: vec![row], notice: None }
}

#[test]
fn what_spends_and_what_cannot_be_undone_is_for_the_human_to_tick() {
    let html = rendered(&sidecar("Quay", 2));
    assert!(html.contains("value=\"budget:read\" checked") && html.contains("value=\"resources:write\">"));
    assert!(html.contains("name=\"sure\" value=\"yes\">") && html.contains("value=\"res_1\" checked"));
    assert!(!html.contains("autofocus"), "nothing is chosen for the human");
    let empty = rendered(&sidecar("Quay", 0));
    assert!(!empty.contains("/move") && empty.contains("/merge") && empty.contains("/discard"));
}

fn every_page() -> Vec<(&'static str, String)> {
    let nobody = || Frame::anonymous("Acme Cloud");
    let link = |gone| LinkPage { frame: nobody(), action: "/d/3q2X".into(), gone };
    let second = ProblemDoc {
        code: "queue_full",
        status: 503,
        title: "There is too much to do",
        causes: &[],
        human: "",
        retry: true,
        ..problem()
    };
    vec![
        ("overview", rendered(&sample())),
        ("overview-empty", rendered(&empty())),
        ("overview-stopped", rendered(&stopped())),
        ("overview-token", rendered(&bound_by_token())),
        ("overview-first-day", rendered(&first_day())),
        ("overview-hostile", rendered(&filled_with(HOSTILE))),
        ("overview-long", rendered(&filled_with(&"averylongwordwithoutanyspace".repeat(4)))),
        ("sidecar", rendered(&sidecar("Quay", 3))),
        ("sidecar-empty", rendered(&sidecar("Quay", 0))),
        ("sidecar-hostile", rendered(&sidecar(HOSTILE, 1))),
        ("sidecars", rendered(&sidecars("Quay", true))),
        ("sidecars-hostile", rendered(&sidecars(HOSTILE, true))),
        ("sidecars-unproven", rendered(&sidecars("Quay", false))),
        ("overview-sidecars", rendered(&OverviewPage { sidecars: 2, ..sample() })),
        ("link", rendered(&link(false))),
        ("link-gone", rendered(&link(true))),
        ("link-hostile", rendered(&LinkPage { frame: Frame::anonymous(HOSTILE), action: HOSTILE.into(), gone: false })),
        ("not-mine", rendered(&not_mine("Harbour", None, None))),
        ("not-mine-stopped", rendered(&not_mine("Harbour", Some(true), None))),
        ("not-mine-stopped-claimed", rendered(&not_mine("Harbour", Some(false), None))),
        ("not-mine-closed", rendered(&not_mine("Harbour", None, Some(LinkOver::Closed)))),
        ("not-mine-claimed", rendered(&not_mine("Harbour", None, Some(LinkOver::Claimed)))),
        ("not-mine-other-address", rendered(&not_mine("Harbour", None, Some(LinkOver::OtherAddress)))),
        ("not-mine-taken-back", rendered(&not_mine("Harbour", Some(false), Some(LinkOver::TakenBack)))),
        ("not-mine-hostile", rendered(&not_mine(HOSTILE, None, None))),
        ("not-mine-hostile-stopped", rendered(&not_mine(HOSTILE, Some(true), None))),
        ("not-found", rendered(&MessagePage::not_found(nobody()))),
        ("forbidden", rendered(&MessagePage::forbidden(frame()))),
        ("broken", rendered(&MessagePage::broken(frame(), "req_01j9z3x5k8m2n4p6q8r0s2t4v6"))),
        ("broken-hostile", rendered(&MessagePage::broken(Frame::anonymous(HOSTILE), HOSTILE))),
        ("refused", rendered(&MessagePage::refused(nobody(), "The form: missing field `ceiling`."))),
        ("refused-hostile", rendered(&MessagePage::refused(nobody(), HOSTILE))),
        ("not-done", rendered(&MessagePage::not_done(nobody(), "The account is frozen."))),
        ("unreadable", rendered(&MessagePage::unreadable(nobody()))),
        ("busy", rendered(&MessagePage::busy(nobody()))),
        ("logged-out", rendered(&MessagePage::logged_out(nobody()))),
        ("session-ended", rendered(&MessagePage::session_ended(nobody()))),
        ("problem", rendered(&ProblemPage { frame: nobody(), problem: problem() })),
        ("problem-hostile", rendered(&ProblemPage { frame: nobody(), problem: hostile_problem() })),
        ("problems", rendered(&ProblemIndexPage { frame: nobody(), problems: vec![problem(), second] })),
        ("consent", rendered(&consent("Codex Seven"))),
        ("consent-hostile", rendered(&consent(HOSTILE))),
        ("claim", rendered(&claim("Harbour", true))),
        ("claim-hostile", rendered(&claim(HOSTILE, false))),
        ("claim-start", rendered(&claim_start("ada@example.com", Second::Passkey))),
        ("claim-start-hostile", {
            let second = Second::Upstream { name: HOSTILE.into(), opened: false, another: true, done: true };
            rendered(&claim_start(HOSTILE, second))
        }),
        ("device", rendered(&device(None))),
        ("device-asked", rendered(&device(Some("Codex Seven")))),
        ("device-hostile", rendered(&device(Some(HOSTILE)))),
        ("consent-waits", rendered(&consent_waits("Codex Seven"))),
        ("consent-waits-hostile", rendered(&consent_waits(HOSTILE))),
        ("sent-back", rendered(&sent_back("agent.example", "`scope` holds nothing."))),
        ("sent-back-hostile", rendered(&sent_back(HOSTILE, HOSTILE))),
        ("consent-needed", rendered(&ConsentNeededPage { frame: nobody() })),
        ("home", rendered(&home("Acme Cloud", four_services()))),
        ("home-hostile", rendered(&home(HOSTILE, vec![service(HOSTILE, HOSTILE, HOSTILE)]))),
    ]
}

fn sent_back(host: &str, description: &str) -> SentBackPage {
    let onward = format!("https://{host}/cb?error=invalid_scope");
    let (host, description) = (host.to_owned(), description.to_owned());
    SentBackPage { frame: Frame::anonymous("Acme Cloud"), host, error: "invalid_scope", description, onward }
}

fn hostile_problem() -> ProblemDoc {
    let causes = &[HOSTILE];
    ProblemDoc { code: HOSTILE, title: HOSTILE, meaning: HOSTILE, causes, agent: HOSTILE, human: HOSTILE, ..problem() }
}

/// The text between tags, with single spaces.
fn text_of(html: &str) -> String {
    let text: String = html.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text)).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn sentence(page: &OverviewPage) -> String {
    let html = rendered(page);
    let (_, rest) = html.split_once("<h1").unwrap();
    text_of(&format!("<h1{}", rest.split_once("</h1>").unwrap().0))
}

#[test]
fn the_sentence_says_what_is_spent_held_and_left_until_when() {
    assert_eq!(sentence(&sample()), "$41.20 of $100.00 spent, $9.00 held. $49.80 left until 1 Dec, 00:00 UTC.");
}

#[test]
fn the_sentence_tells_of_the_ceiling_that_binds_and_adds_up() {
    let said = sentence(&bound_by_token());
    assert_eq!(said, "$41.20 of $50.00 spent, $8.80 held. $0.00 left on the Harbour payment token ••9f3c.");
}

#[test]
fn a_cap_below_what_is_spent_says_how_far_it_is_passed() {
    let mut page = sample();
    page.budget.limit = usd(3_000);
    assert_eq!(sentence(&page), "$41.20 of $30.00 spent, $9.00 held. $20.20 over the cap until 1 Dec, 00:00 UTC.");
    assert!(text_of(&rendered(&page)).contains("Blocks: the cap is reached"));
}

#[test]
fn a_stopped_account_says_so_and_offers_to_resume() {
    let html = rendered(&stopped());
    assert!(html.contains("New spending is stopped") && html.contains("action=\"/dashboard/resume\""));
    assert!(!html.contains("action=\"/dashboard/stop\""));
}

#[test]
fn whoever_did_not_log_in_is_offered_the_log_in_and_no_button_that_resumes() {
    let linked = OverviewPage { can_resume: false, ..stopped() };
    let html = rendered(&linked);
    assert!(!html.contains("action=\"/dashboard/resume\"") && !html.contains("action=\"/dashboard/stop\""));
    assert!(
        html.contains("href=\"/login\"") && text_of(&html).contains("a link is not enough to allow spending again")
    );
    let refused = rendered(&OverviewPage { used: Some(Control::Switch), ..linked });
    assert_eq!(refused.matches("data-focus").count(), 1);
    assert!(text_of(&rendered(&sample())).contains("You can resume when you are logged in."));
}

#[test]
fn an_unclaimed_account_is_told_of_a_lower_cap_only_when_there_is_one() {
    let told = |lower_cap| {
        text_of(&rendered(&OverviewPage { provisional: Some(unclaimed("Harbour", lower_cap)), ..sample() }))
    };
    assert!(told(true).contains("Until then a lower cap holds") && !told(false).contains("lower cap holds"));
    assert!(told(false).contains("at most 10 resources, nothing new can be bought from 15 Dec"), "{}", told(false));
    // A cap that is as high as it may be is raised by claiming, and not by a form.
    let page = |highest| {
        let provisional = Provisional { highest: usd(highest), ..unclaimed("Harbour", true) };
        rendered(&OverviewPage { provisional: Some(provisional), can_resume: true, ..sample() })
    };
    for (highest, form) in [(10_000, false), (10_001, true)] {
        assert_eq!(page(highest).contains("action=\"/dashboard/cap/raise\""), form);
        assert_eq!(page(highest).contains("href=\"/claim\">Claim to raise the cap</a>"), !form);
    }
}

#[test]
fn an_example_of_a_cap_is_below_the_cap() {
    let example = |limit| {
        let mut page = sample();
        page.budget.limit = usd(limit);
        let html = rendered(&page);
        html.split_once("placeholder=\"").unwrap().1.split('"').next().unwrap().to_owned()
    };
    assert_eq!([10_000, 9_999, 300, 100, 1].map(example), ["80.00", "79.00", "2.00", "0.80", "0.00"]);
}

#[test]
fn a_cap_below_what_is_spent_is_asked_for_once_more() {
    let page = OverviewPage {
        cap_form: CapForm { typed: "20".into(), problem: Some("Sure?".into()), sure: Some("2000".into()) },
        ..sample()
    };
    let html = rendered(&page);
    assert!(html.contains("name=\"sure\" value=\"2000\"") && html.contains(">Yes, lower the cap</button>"));
    assert!(!rendered(&sample()).contains("name=\"sure\""));
    assert!(text_of(&html).contains("Only you can raise it again"));
}

#[test]
fn a_refused_cap_keeps_what_was_typed_and_says_why() {
    let html = rendered(&bound_by_token());
    assert!(html.contains("value=\"120.00\"") && html.contains("aria-invalid") && html.contains("id=\"cap-problem\""));
    assert!(html.contains("<details name=\"control\" id=\"cap\" open>"), "the form is open");
}

/// The page without the scripts of ours.
fn without_our_scripts(html: &str) -> String {
    [HTMX, "dashboard.js", "passkeys.js"].iter().fold(html.to_owned(), |html, script| {
        html.replace(&format!("<script src=\"{}\" defer></script>", asset_url(script)), "")
    })
}

#[test]
fn only_the_dashboard_and_what_makes_a_passkey_load_script_and_only_ours() {
    for (name, html) in every_page() {
        let loaded = html.matches("<script").count();
        let ours = match name {
            "claim" => 1,
            _ if name.starts_with("overview") => 2,
            _ => 0,
        };
        assert_eq!(loaded, ours, "{name}");
        assert!(!without_our_scripts(&html).contains("<script"), "{name}");
    }
}

#[test]
fn a_part_is_cut_from_the_page_and_has_no_frame_and_no_script() {
    let page = sample();
    let (whole, main, ledger) = (rendered(&page), rendered(&MainPart(&page)), rendered(&LedgerPart(&page)));
    assert!(whole.contains(main.trim()) && main.contains(ledger.trim()));
    assert!(main.trim().starts_with("<section class=\"headline\"") && main.contains("id=\"told\""));
    assert!(ledger.trim().starts_with("<section class=\"sheet\" id=\"ledger\""));
    for part in [main, ledger] {
        assert!(!part.contains("<script") && !part.contains("<html") && !part.contains("<main"));
    }
}

#[test]
fn what_script_swaps_exists_in_the_page_and_in_the_answer() {
    let (whole, ledger) = (rendered(&sample()), rendered(&LedgerPart(&rows_below(Some(43)))));
    let main = rendered(&MainPart(&just_changed(Control::Cap)));
    for id in ["spend", "told", "days", "activity"] {
        let id = format!(" id=\"{id}\"");
        assert!(whole.contains(&id) && main.contains(&id), "{id}");
    }
    for id in ["ledger-rows", "ledger-pages"] {
        let id = format!(" id=\"{id}\"");
        assert!(whole.contains(&id) && ledger.contains(&id), "{id}");
    }
}

#[test]
fn after_a_change_one_thing_has_the_focus_and_a_fresh_page_takes_it_from_nobody() {
    assert!(!rendered(&sample()).contains("focus"));
    assert!(rendered(&just_changed(Control::Cap)).contains("data-focus>Lower the cap</summary>"));
    assert!(rendered(&just_changed(Control::Switch)).contains("data-focus>Stop new spending</summary>"));
    let stopped = OverviewPage { used: Some(Control::Switch), ..stopped() };
    assert!(rendered(&stopped).contains("data-focus>Resume spending</summary>"));
    let refused = OverviewPage { used: Some(Control::Cap), ..bound_by_token() };
    assert!(rendered(&refused).contains("aria-invalid=\"true\" data-focus>"));
    for page in [just_changed(Control::Cap), just_changed(Control::Switch), stopped, refused, rows_below(None)] {
        let html = rendered(&page);
        assert_eq!((html.matches("data-focus").count(), html.matches("autofocus").count()), (1, 0));
    }
    assert!(rendered(&bound_by_token()).contains("aria-invalid=\"true\" autofocus>"), "a page that is loaded");
}

#[test]
fn rows_that_go_below_others_offer_no_way_back_and_tell_when_they_are_the_last() {
    let more = rendered(&LedgerPart(&rows_below(Some(43))));
    assert!(more.contains(">Older</a>") && !more.contains(">Newest</a>") && !more.contains("the first entry"));
    assert!(more.contains("data-sequence=\"48\" tabindex=\"-1\" data-focus>"));
    let last = rendered(&LedgerPart(&rows_below(None)));
    assert!(last.contains("This was the first entry.") && !last.contains("<a "));
}

#[test]
fn the_place_for_news_is_empty_until_there_is_some() {
    assert!(
        rendered(&sample()).contains("<div id=\"told\" role=\"status\"></div>"),
        "a rule of the stylesheet asks for `:empty`"
    );
    assert!(rendered(&stopped()).contains("role=\"status\"><p class=\"notice good\">New spending is stopped."));
}

#[test]
fn text_of_others_never_becomes_markup() {
    for (name, html) in every_page() {
        assert!(!without_our_scripts(&html).contains("<script") && !html.contains("<img"), "{name}");
        assert!(!html.contains("\"'&<"), "{name}: an attribute was left");
    }
}

#[test]
fn every_page_has_one_heading_of_the_first_rank_and_unique_ids() {
    for (name, html) in every_page() {
        assert_eq!(html.matches("<h1").count(), 1, "{name}");
        assert_eq!(html.matches("<main id=\"main\"").count(), 1, "{name}");
        let mut ids: Vec<_> = html.split(" id=\"").skip(1).filter_map(|part| part.split('"').next()).collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all, "{name}: an id stands twice");
    }
}

#[test]
fn every_page_names_only_files_that_are_served() {
    let known = ["portreeve.css", "favicon.svg", HTMX, "dashboard.js", "passkeys.js"].map(asset_url);
    for (name, html) in every_page() {
        for url in html.split("\"/assets/").skip(1).filter_map(|part| part.split('"').next()) {
            assert!(known.contains(&format!("/assets/{url}")), "{name}: {url}");
        }
    }
}

#[test]
fn every_form_has_a_method_and_a_name() {
    for (page, html) in every_page() {
        for form in html.split("<form").skip(1) {
            let (opening, rest) = form.split_once('>').unwrap();
            let body = rest.split_once("</form>").unwrap().0;
            assert!(
                opening.contains("method=\"post\"") && opening.contains("action=\"/") || page.contains("hostile"),
                "{page}"
            );
            assert!(opening.contains("aria-label") || body.contains("<label for="), "{page}: {opening}");
        }
    }
}

fn templates(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            templates(&path, found);
        } else {
            found.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn no_template_has_inline_code_or_style_or_unescaped_text() {
    let mut found = Vec::new();
    templates(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/dashboard/pages/templates"), &mut found);
    assert!(found.len() > 10);
    for (path, text) in found {
        assert_eq!(complaint(&text), None, "{path}");
    }
}

/// What a template may not hold: inline code or style, what htmx needs `eval` for, unescaped text, another host.
fn complaint(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    let forbidden = [
        "hx-on",
        "hx-vals",
        "hx-headers",
        "hx-confirm",
        "hx-config",
        "hx-live",
        "data-hx-",
        "js:",
        "javascript:",
        "style=",
        "<style",
        "srcdoc",
        "|safe",
        "| safe",
        "http://",
        "https://",
    ];
    let mut scripts = text.split("<script").skip(1);
    if let Some(word) = forbidden.iter().find(|word| text.replace("\"htmx-config\"", "").contains(**word)) {
        return Some(format!("`{word}`"));
    }
    if !scripts.all(|tag| {
        ["frame::", "self::"].iter().any(|own| tag.starts_with(&format!(" src=\"{{{{ {own}")))
            && tag.contains("\" defer></script>")
    }) {
        return Some("a script that is not a file of ours".to_owned());
    }
    if text.split_whitespace().any(|word| word.starts_with("on") && word.contains('=')) {
        return Some("an inline handler".to_owned());
    }
    let triggers = text.split("hx-trigger").skip(1).filter_map(|part| part.split('"').nth(1));
    triggers.into_iter().any(|value| value.contains('[')).then(|| "a trigger with a filter needs eval".to_owned())
}

#[test]
fn inline_code_and_what_needs_eval_are_found() {
    for bad in [
        "<p hx-on:click=\"x()\">",
        "<p HX-ON::after-swap=\"x()\">",
        "<a hx-get=\"js:x()\">",
        "<a href=\"JavaScript:x()\">",
        "<a hx-vals='{\"a\": 1}'>",
        "<a hx-get=\"/\" hx-trigger=\"click[ctrlKey]\">",
        "<a hx-trigger:inherited=\"keyup[key=='x']\">",
        "<p onclick=\"x()\">",
        "<p onclick='x()'>",
        "<p style=\"color: red\">",
        "<script>x()</script>",
        "<script src=\"/x.js\"></script>",
        "<script src=\"{{ Frame::htmx() }}\" defer>x()</script>",
        "<script src=\"https://elsewhere.example/x.js\"></script>",
        "{{ name|safe }}",
    ] {
        assert!(complaint(bad).is_some(), "{bad}");
    }
    for good in [
        "<a hx-get=\"/dashboard\" hx-trigger=\"click\" hx-target=\"#ledger\">",
        "<script src=\"{{ Frame::htmx() }}\" defer></script>",
        "<meta name=\"htmx-config\" content='{\"history\":false}'>",
    ] {
        assert_eq!(complaint(good), None, "{good}");
    }
}

/// Writes every sample to `target/pages`, to be looked at and given to axe by `tests/browser/static.mjs`.
#[test]
fn every_page_can_be_looked_at() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pages");
    std::fs::create_dir_all(&folder).unwrap();
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/assets/files");
    let names = ["portreeve.css", "favicon.svg", HTMX, "dashboard.js"];
    for file in names {
        std::fs::copy(files.join(file), folder.join(file)).unwrap();
    }
    for (name, html) in every_page() {
        let html = names.iter().fold(html, |html, file| html.replace(&asset_url(file), file));
        std::fs::write(folder.join(format!("{name}.html")), html).unwrap();
    }
}
