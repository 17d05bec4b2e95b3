-- DPoP proofs that were used (RFC 9449 §11.1): one is good for one request.
CREATE TABLE dpop_proofs (
    proof_hash TEXT NOT NULL PRIMARY KEY,
    refused_from BIGINT NOT NULL
);
CREATE INDEX dpop_proofs_by_end ON dpop_proofs (refused_from);
