-- How and when the human behind a session proved who they are. Sessions from before came from links that agents make.
ALTER TABLE sessions ADD COLUMN method TEXT NOT NULL DEFAULT 'deep_link';
ALTER TABLE sessions ADD COLUMN authenticated_at BIGINT NOT NULL DEFAULT 0;
UPDATE sessions SET authenticated_at = created_at;

-- Who stopped spending does not matter any more: whoever logged in may allow it again.
ALTER TABLE accounts DROP COLUMN spending_stopped_by;

-- One step of a log-in: a link in a mail, a way to the upstream issuer and back, a passkey's challenge, a choice of account.
-- What it knows is sealed; its secret is kept as a hash; it works once.
CREATE TABLE log_in_steps (
    id TEXT NOT NULL PRIMARY KEY,
    token_hash TEXT UNIQUE,
    kind TEXT NOT NULL,
    browser_hash TEXT NOT NULL,
    sealed_facts TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX log_in_steps_by_end ON log_in_steps (expires_at);

-- People of the upstream issuer who logged in to an account. One person may have several accounts.
CREATE TABLE upstream_links (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    created_at BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject, account_id)
);
CREATE INDEX upstream_links_by_account ON upstream_links (account_id);

CREATE TABLE passkeys (
    credential_id TEXT NOT NULL PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    name TEXT NOT NULL,
    credential TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX passkeys_by_account ON passkeys (account_id, created_at);

-- Mails that are to be sent for an event of the outbox.
CREATE TABLE mails (
    event_id TEXT NOT NULL PRIMARY KEY REFERENCES outbox_events (id),
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    next_try_at BIGINT,
    last_error TEXT,
    changed_at BIGINT NOT NULL
);
CREATE INDEX mails_due ON mails (next_try_at);
