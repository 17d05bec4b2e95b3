-- When and how an account's human claimed it. The key lets one human win.
CREATE TABLE claims (
    account_id TEXT NOT NULL PRIMARY KEY REFERENCES accounts (id),
    method TEXT NOT NULL,
    claimed_at BIGINT NOT NULL
);
-- What the human behind a session proved, by which way, and when: a claim needs more than one log-in.
CREATE TABLE session_proofs (
    token_hash TEXT NOT NULL PRIMARY KEY,
    proofs TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX session_proofs_age ON session_proofs (created_at);
-- Resources whose credentials must become others, since their account was claimed: kept until it is so.
CREATE TABLE renewals (
    account_id TEXT NOT NULL REFERENCES accounts (id),
    resource_id TEXT NOT NULL,
    generation BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    next_try_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, resource_id)
);
CREATE INDEX renewals_due ON renewals (next_try_at);
