DROP TABLE grants;
DROP TABLE assertion_uses;
DROP TABLE identity_links;
DROP TABLE email_owners;
DROP TABLE accounts;
DROP TABLE orchestrators;
