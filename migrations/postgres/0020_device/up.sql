-- Programs without a browser that wait for a human to type a code elsewhere (RFC 8628). Neither code stands here, only
-- hashes. Once the code was typed, the question is an authorization request; its code is found by its challenge.
CREATE TABLE device_requests (
    device_hash TEXT NOT NULL PRIMARY KEY,
    user_hash TEXT NOT NULL UNIQUE,
    client TEXT NOT NULL,
    scope TEXT NOT NULL,
    address TEXT NOT NULL,
    state TEXT NOT NULL,
    handle_hash TEXT,
    code_challenge TEXT,
    wait_seconds BIGINT NOT NULL,
    next_poll_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX device_requests_by_end ON device_requests (expires_at);
CREATE INDEX authorization_codes_by_challenge ON authorization_codes (code_challenge);
