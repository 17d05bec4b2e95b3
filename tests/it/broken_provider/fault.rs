//! What the double can do wrong, one switch each.

macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $fault:ident,)+) => {
        /// One thing that the provider does wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Fault {
            $($(#[doc = $doc])+ $fault,)+
        }

        impl Fault {
            /// All, with a sentence each.
            pub(crate) const ALL: &[(Self, &str)] = &[$((Self::$fault, concat!($($doc),+)),)+];
        }
    };
}

faults! {
    /// old signatures are accepted
    StaleSignature,
    /// signatures from the future are accepted
    FutureSignature,
    /// signatures are not looked at
    SignatureIgnored,
    /// only the first v1 is compared
    FirstV1Only,
    /// upper-case digits are refused
    HexCaseMatters,
    /// a malformed signature header is a 500
    MalformedSignature500,
    /// the signature is taken over a rewritten body
    RewrittenBodySigned,
    /// a bearer needs no signature
    UnsignedBearer,
    /// the second scheme is not looked at
    V2Ignored,
    /// the second scheme does not bind the body
    V2BodyUnbound,
    /// the second scheme does not bind the method
    V2MethodUnbound,
    /// a token of the second scheme never ends
    V2Endless,
    /// any version of the second scheme is accepted
    V2AnyVersion,
    /// an unsigned token of the second scheme is accepted
    V2NoneAccepted,
    /// the version is not looked at
    NoVersionCheck,
    /// the version is looked at before the signature
    VersionFirst,
    /// health names no version
    HealthWithoutVersion,
    /// services have no categories
    NoCategories,
    /// two services have one id
    SameServiceTwice,
    /// an update leads to a service that does not exist
    DanglingUpdate,
    /// a price of an unknown kind
    UnknownPricing,
    /// the catalog never ends
    EndlessPages,
    /// an empty e-mail opens an account
    EmptyEmail,
    /// an expired request opens an account
    ExpiredAccepted,
    /// an end without an offset is a 500
    OffsetlessExpiry500,
    /// a request without a subject opens an account
    NoSubject,
    /// a challenge that hides nothing is accepted
    PlainChallenge,
    /// null for an optional member is refused
    NullsRefused,
    /// the request's id is not repeated but made up
    OtherEcho,
    /// an existing e-mail is linked without asking
    SilentLink,
    /// each request of one user opens another account
    AlwaysNewAccount,
    /// the consent page gives a code to anybody
    ConsentGivesCode,
    /// the consent page of an unknown request is a 500
    Consent500,
    /// a code works twice
    CodeReusable,
    /// a failed verifier uses the code up
    CodeLostByVerifier,
    /// the verifier is not compared
    VerifierIgnored,
    /// a code without a challenge needs no signature
    UnsignedCode,
    /// tokens may be stored by caches
    TokenCacheable,
    /// an unknown grant type is refused in another envelope
    GrantEnvelope,
    /// a refresh gives the same refresh token
    RefreshNotRotated,
    /// the old refresh token lives on
    OldRefreshLives,
    /// the old access token lives on
    OldAccessLives,
    /// a refresh token opens resources
    RefreshIsAccess,
    /// a read makes new secrets
    ReadMints,
    /// values are not texts
    NestedAccess,
    /// an unknown service is a 500
    UnknownService500,
    /// the configuration is not checked
    ConfigurationUnchecked,
    /// another account's resource can be read
    ForeignReadable,
    /// another account's resource can be removed
    ForeignRemovable,
    /// another account's resource can be rotated
    ForeignRotatable,
    /// a count is not kept
    CountIgnored,
    /// parents are not asked for
    ParentsIgnored,
    /// plans that exclude each other stand beside each other
    ExclusionIgnored,
    /// any update is allowed
    WaysIgnored,
    /// an update to a paid service costs nothing
    UnpaidUpdate,
    /// a refused update changes the service all the same
    RefusedUpdateApplied,
    /// a rotation gives another resource
    RotationOtherId,
    /// a rotation changes nothing
    RotationKeepsValues,
    /// a read after a rotation gives the old values
    OldValuesRead,
    /// a removed resource is still there
    RemovedUsable,
    /// a second removal is a 500
    SecondRemoval500,
    /// a removal takes the account's other resources with it
    RemovesAll,
    /// a deep link works twice
    DeepLinkReusable,
    /// a deep link leads to wherever it is told
    OpenRedirect,
    /// a deep link works for a year
    EndlessDeepLink,
    /// the deep link holds the access token
    TokenInLink,
    /// what was refused for money is there all the same
    UnpaidUsable,
    /// a retry of an unpaid creation succeeds
    UnpaidRetrySucceeds,
    /// any kind of payment pays
    UnknownPaymentPays,
    /// any token pays
    FalseTokenPays,
    /// the limit of a token is not looked at
    TokenLimitIgnored,
    /// anybody's token pays
    TokenOfAnother,
    /// the code for a missing payment is another one
    OtherPaymentCode,
    /// keys are not looked at
    IdempotencyIgnored,
    /// keys are shared between accounts
    KeysShared,
    /// a race opens two accounts
    RaceAccounts,
    /// a race makes two resources
    RaceResources,
    /// a race redeems a code twice
    RaceCode,
    /// a race passes the count
    RaceCount,
    /// an unknown path is a web page
    NotFoundPage,
    /// another method is a web page
    MethodPage,
    /// a large body is refused as plain text
    LargePlain,
    /// malformed JSON is refused as plain text
    MalformedPlain,
    /// a wrong type is a 500
    WrongType500,
    /// an odd id is a 500
    OddId500,
    /// a refusal shows the inside
    TellsInside,
    /// nobody is ever limited in an envelope: the refusal is plain text
    LimitPlain,
    /// a limit does not say when to come back
    NoRetryAfter,
    /// a limit is never lifted
    LimitForever,
}
