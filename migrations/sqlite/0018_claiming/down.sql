DROP TABLE renewals;
DROP TABLE session_proofs;
DROP TABLE claims;
