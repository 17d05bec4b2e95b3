-- Separate accounts that were opened for agents of people whose proven address had an account already. Their owner decides
-- from inside that account, once.
CREATE TABLE sidecars (
    account_id TEXT NOT NULL PRIMARY KEY REFERENCES accounts (id),
    email_index TEXT NOT NULL,
    orchestrator_id TEXT NOT NULL REFERENCES orchestrators (id),
    tenant TEXT NOT NULL,
    subject TEXT NOT NULL,
    opened_at BIGINT NOT NULL,
    outcome TEXT,
    decided_by TEXT REFERENCES accounts (id),
    decided_at BIGINT
);
CREATE INDEX sidecars_by_email ON sidecars (email_index, account_id);
-- How many accounts an orchestrator opened in each hour for addresses that fold into one: tags, dots and look-alikes gone.
-- The fold is kept as a hash; it limits, and never finds anybody.
CREATE TABLE address_openings (
    orchestrator_id TEXT NOT NULL REFERENCES orchestrators (id),
    address_fold TEXT NOT NULL,
    hour_start BIGINT NOT NULL,
    opened BIGINT NOT NULL,
    PRIMARY KEY (orchestrator_id, address_fold, hour_start)
);
CREATE INDEX address_openings_by_hour ON address_openings (hour_start);
-- How much of a ceiling was used up in another account before what it limits came here. It counts no more here.
ALTER TABLE counters ADD COLUMN carried BIGINT NOT NULL DEFAULT 0 CHECK (carried >= 0);
