-- Who attested whom, and with which key: the delegations behind accounts and grants. A wire secret's id stands as its key.
CREATE TABLE delegations (
    orchestrator_id TEXT NOT NULL REFERENCES orchestrators (id),
    key_id TEXT NOT NULL,
    tenant TEXT NOT NULL,
    subject TEXT NOT NULL,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (orchestrator_id, key_id, tenant, subject, account_id)
);
CREATE INDEX delegations_by_key ON delegations (orchestrator_id, key_id, account_id);
CREATE INDEX delegations_by_subject ON delegations (orchestrator_id, subject, account_id);
CREATE INDEX delegations_by_account ON delegations (account_id);
-- Whom we distrust since when, how far that goes, and how much of it is done.
CREATE TABLE distrusts (
    id TEXT NOT NULL PRIMARY KEY,
    orchestrator_id TEXT NOT NULL REFERENCES orchestrators (id),
    since BIGINT NOT NULL,
    key_id TEXT,
    tenant TEXT,
    subject TEXT,
    depth TEXT NOT NULL,
    cause TEXT NOT NULL,
    suspended BOOLEAN NOT NULL,
    phase TEXT NOT NULL,
    done_to TEXT NOT NULL,
    begun_at BIGINT NOT NULL,
    tokens_dead_at BIGINT,
    finished_at BIGINT,
    lifted_at BIGINT
);
CREATE INDEX distrusts_by_orchestrator ON distrusts (orchestrator_id, id);
CREATE INDEX distrusts_unfinished ON distrusts (id) WHERE finished_at IS NULL;
-- What was held back, and how it was before. Nothing is deleted.
CREATE TABLE distrust_items (
    distrust_id TEXT NOT NULL REFERENCES distrusts (id),
    kind TEXT NOT NULL,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    subject TEXT NOT NULL,
    was TEXT NOT NULL,
    at BIGINT NOT NULL,
    restored_at BIGINT,
    PRIMARY KEY (distrust_id, kind, account_id, subject)
);
CREATE INDEX distrust_items_by_subject ON distrust_items (account_id, kind, subject);
-- What a person must do first, after their orchestrator told of a risk.
CREATE TABLE precautions (
    account_id TEXT NOT NULL REFERENCES accounts (id),
    orchestrator_id TEXT NOT NULL REFERENCES orchestrators (id),
    remove_after BIGINT,
    write_after BIGINT,
    cooling_until BIGINT,
    PRIMARY KEY (account_id, orchestrator_id)
);
-- Security events (RFC 8417): how they come in, by push (RFC 8935) or poll (RFC 8936), and where ours go.
CREATE TABLE security_streams (
    orchestrator_id TEXT NOT NULL PRIMARY KEY REFERENCES orchestrators (id),
    audience TEXT NOT NULL,
    accepts_push BOOLEAN NOT NULL,
    push_token_hash TEXT,
    poll_url TEXT,
    sealed_poll_token TEXT,
    next_poll_at BIGINT,
    send_url TEXT,
    sealed_send_token TEXT,
    verified_at BIGINT,
    changed_at BIGINT NOT NULL
);
CREATE INDEX security_streams_due ON security_streams (next_poll_at) WHERE next_poll_at IS NOT NULL;
CREATE TABLE security_events (
    orchestrator_id TEXT NOT NULL REFERENCES orchestrators (id),
    jti TEXT NOT NULL,
    event TEXT NOT NULL,
    account_id TEXT,
    outcome TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (orchestrator_id, jti)
);
CREATE INDEX security_events_by_time ON security_events (received_at);
-- What is wrong with an account, as its human or an orchestrator says; with what was known then, signed.
CREATE TABLE cases (
    id TEXT NOT NULL PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    kind TEXT NOT NULL,
    cause TEXT NOT NULL,
    opened_at BIGINT NOT NULL,
    evidence TEXT,
    closed_at BIGINT,
    closed_by TEXT,
    note TEXT
);
-- One of a kind at a time.
CREATE UNIQUE INDEX cases_open ON cases (account_id, kind) WHERE closed_at IS NULL;
CREATE INDEX cases_by_account ON cases (account_id, id);
CREATE INDEX cases_without_evidence ON cases (id) WHERE evidence IS NULL;
-- Keys of an orchestrator that sign nothing for us any more, as a JSON list.
ALTER TABLE orchestrators ADD COLUMN distrusted_keys TEXT NOT NULL DEFAULT '[]';
-- Since when nothing new is spent through this orchestrator.
ALTER TABLE budgets ADD COLUMN stopped_at BIGINT;
CREATE INDEX budgets_by_orchestrator ON budgets (orchestrator_id, account_id);
-- Since when a resource is held back: whatever its state is, nobody uses, changes or removes it.
ALTER TABLE resources ADD COLUMN quarantined_at BIGINT;
CREATE INDEX authorization_codes_by_account ON authorization_codes (account_id);
CREATE INDEX deep_links_by_account ON deep_links (account_id);
