-- What the owner of an account allowed an orchestrator when they were asked; NULL: nobody was asked.
ALTER TABLE identity_links ADD COLUMN scopes TEXT;
UPDATE identity_links SET scopes = (
    SELECT r.scope FROM account_requests r
    WHERE r.orchestrator_id = identity_links.orchestrator_id AND r.tenant = identity_links.tenant
        AND r.subject = identity_links.subject AND r.account_id = identity_links.account_id AND r.state = 'allowed'
    ORDER BY r.decided_at DESC, r.id DESC LIMIT 1
);
