CREATE TABLE catalog_revisions (
    version BIGINT NOT NULL PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    content_digest TEXT NOT NULL,
    document BYTEA NOT NULL,
    jws BYTEA NOT NULL,
    issued_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
