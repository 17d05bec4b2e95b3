-- The programs that act for an account, each by its name at an orchestrator, and what the owner took from each of them.
CREATE TABLE agents (
    account_id TEXT NOT NULL REFERENCES accounts (id),
    orchestrator_id TEXT NOT NULL REFERENCES orchestrators (id),
    client TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT,
    -- No more than this may be allowed; NULL: nothing was dropped.
    scope TEXT,
    -- No more than this may be spent in a calendar month; NULL: nothing was lowered.
    currency TEXT,
    per_month BIGINT CHECK (per_month >= 0),
    created_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL,
    paused_at BIGINT,
    revoked_at BIGINT,
    -- What it bought within an hour from here on is to be undone, and not all of it is noted yet.
    undo_from BIGINT,
    PRIMARY KEY (account_id, orchestrator_id, client)
);
CREATE UNIQUE INDEX agents_by_id ON agents (id);
CREATE INDEX agents_paused ON agents (paused_at) WHERE paused_at IS NOT NULL;
CREATE INDEX agents_undoing ON agents (undo_from) WHERE undo_from IS NOT NULL;
CREATE INDEX grants_by_agent ON grants (account_id, client, expires_at);
CREATE INDEX refresh_tokens_by_agent ON refresh_tokens (account_id, client);
CREATE INDEX audit_facts_by_actor ON audit_facts (account_id, actor, id);
-- By which program it was bought; and since when its owner wants it gone, as soon as the work on it allows that.
ALTER TABLE resources ADD COLUMN client TEXT;
ALTER TABLE resources ADD COLUMN unwanted_at BIGINT;
CREATE INDEX resources_unwanted ON resources (unwanted_at) WHERE unwanted_at IS NOT NULL;
-- An account that is closing is as unusable as a closed one.
DROP INDEX accounts_unusable;
CREATE INDEX accounts_unusable ON accounts (changed_at) WHERE state IN ('frozen', 'closing', 'closed');
CREATE INDEX accounts_by_state ON accounts (state, changed_at);
