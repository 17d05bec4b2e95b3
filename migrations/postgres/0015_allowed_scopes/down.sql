ALTER TABLE identity_links DROP COLUMN scopes;
