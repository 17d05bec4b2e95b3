-- What the human set: how much may be spent in each calendar month.
CREATE TABLE budgets (
    account_id TEXT NOT NULL REFERENCES accounts (id),
    orchestrator_id TEXT NOT NULL REFERENCES orchestrators (id),
    currency TEXT NOT NULL,
    ceiling BIGINT NOT NULL CHECK (ceiling >= 0),
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, orchestrator_id)
);
CREATE TABLE payment_tokens (
    account_id TEXT NOT NULL REFERENCES accounts (id),
    id TEXT NOT NULL,
    orchestrator_id TEXT NOT NULL REFERENCES orchestrators (id),
    token_key TEXT NOT NULL,
    token_hash TEXT NOT NULL,
    sealed_token TEXT NOT NULL,
    last4 TEXT NOT NULL,
    currency TEXT NOT NULL,
    max_amount BIGINT NOT NULL CHECK (max_amount >= 0),
    recurring TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, id)
);
-- One issuer never issues the same jti twice, whoever presents it.
CREATE UNIQUE INDEX payment_tokens_jti ON payment_tokens (orchestrator_id, token_key);
-- One ceiling in one period. A new period is a new row, never a reset.
CREATE TABLE counters (
    account_id TEXT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    currency TEXT NOT NULL,
    period_start BIGINT NOT NULL,
    period_end BIGINT NOT NULL,
    ceiling BIGINT NOT NULL,
    held BIGINT NOT NULL CHECK (held >= 0),
    spent BIGINT NOT NULL CHECK (spent >= 0),
    PRIMARY KEY (account_id, id)
);
CREATE UNIQUE INDEX counters_by_period ON counters (account_id, kind, subject, period_start);
CREATE TABLE holds (
    account_id TEXT NOT NULL,
    id TEXT NOT NULL,
    counter_ids TEXT NOT NULL,
    resource_id TEXT,
    currency TEXT NOT NULL,
    amount BIGINT NOT NULL CHECK (amount >= 0),
    captured BIGINT NOT NULL CHECK (captured >= 0 AND captured <= amount),
    state TEXT NOT NULL,
    description TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    settled_at BIGINT,
    PRIMARY KEY (account_id, id)
);
-- Where the chain of an account's ledger ends.
CREATE TABLE ledger_heads (
    account_id TEXT NOT NULL PRIMARY KEY,
    sequence BIGINT NOT NULL,
    hash TEXT NOT NULL
);
CREATE TABLE ledger_entries (
    account_id TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    hold_id TEXT,
    resource_id TEXT,
    counter_ids TEXT NOT NULL,
    currency TEXT NOT NULL,
    held_change BIGINT NOT NULL,
    spent_change BIGINT NOT NULL,
    description TEXT NOT NULL,
    at BIGINT NOT NULL,
    previous_hash TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (account_id, sequence)
);
CREATE TABLE charges (
    account_id TEXT NOT NULL,
    id TEXT NOT NULL,
    hold_id TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    orchestrator_id TEXT NOT NULL,
    payment_token_id TEXT NOT NULL,
    currency TEXT NOT NULL,
    amount BIGINT NOT NULL CHECK (amount >= 0),
    state TEXT NOT NULL,
    authorization_id TEXT,
    reason TEXT,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, id)
);
CREATE UNIQUE INDEX charges_by_attempt ON charges (account_id, hold_id, attempt);
