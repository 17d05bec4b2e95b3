// oidc-provider as the token bench's peer: its own in-memory store, ES256 JWT access tokens for one API, clients with a
// secret (client_secret_basic), refresh tokens that are replaced at each use, and ID-JAGs.
//
// One line of JSON comes in with what to serve; one line goes out when it listens. From then on each line that comes in
// is the number of refresh tokens that are wanted, and one line goes out with them.

import { randomBytes, randomUUID, generateKeyPairSync } from 'node:crypto';
import { createInterface } from 'node:readline';
import { createLocalJWKSet, jwtVerify } from 'jose';
import { Provider, errors } from 'oidc-provider';
import MemoryAdapter from 'oidc-provider/lib/adapters/memory_adapter.js';
import LRU from 'oidc-provider/lib/helpers/lru.js';

const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const SCOPE = 'resources:read resources:write budget:read dashboard:link';

// Its own store, with more room: what is not among the newest thousand things would be forgotten, consents that are in use too.
const store = new LRU({ maxSize: 10_000 });

const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const { port, clients: count, persons, issuer: asserting } = JSON.parse((await lines.next()).value);

const issuer = `http://127.0.0.1:${port}`;
const resource = `${issuer}/v1`;
const api = {
  scope: SCOPE, audience: resource, accessTokenFormat: 'jwt', accessTokenTTL: 600, jwt: { sign: { alg: 'ES256' } },
};

function client(grants) {
  const code = grants.includes('authorization_code');
  return {
    client_id: `client_${randomUUID()}`,
    client_secret: randomBytes(32).toString('base64url'),
    grant_types: grants,
    redirect_uris: code ? ['https://agent.example/cb'] : [],
    response_types: code ? ['code'] : [],
    token_endpoint_auth_method: 'client_secret_basic',
    id_token_signed_response_alg: 'ES256',
    scope: SCOPE,
  };
}

const machines = Array.from({ length: count }, () => client(['client_credentials']));
const host = client(['authorization_code', 'refresh_token']);
const bearer = client([JWT_BEARER]);

const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const provider = new Provider(issuer, {
  adapter: (model) => new MemoryAdapter(model, store),
  clients: [...machines, host, bearer],
  clientAuthMethods: ['client_secret_basic'],
  // `offline_access` is what makes it know refresh tokens at all.
  scopes: ['offline_access', ...SCOPE.split(' ')],
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig', kid: 'one' }] },
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  rotateRefreshToken: true,
  ttl: { AccessToken: 600, ClientCredentials: 600, RefreshToken: 30 * 24 * 3600, Grant: 180 * 24 * 3600 },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => resource,
      useGrantedResource: () => true,
      getResourceServerInfo: () => api,
    },
  },
});

// It knows no ID-JAGs. This is what its own interface for other grants makes of them: signature, type, audience, times;
// whose client; used once; whose account; an access token.
const keys = createLocalJWKSet(asserting.jwks);
const accounts = new Map(Array.from({ length: persons }, (_, n) => [`p${n}`, `acct_${randomUUID()}`]));
async function idJag(ctx) {
  const { assertion, scope } = ctx.oidc.params;
  const { payload } = await jwtVerify(assertion, keys, {
    issuer: asserting.url, audience: issuer, typ: 'oauth-id-jag+jwt', algorithms: ['ES256'], maxTokenAge: 600,
    requiredClaims: ['sub', 'jti', 'exp', 'client_id'],
  }).catch((error) => { throw new errors.InvalidGrant(error.message); });
  const accountId = accounts.get(payload.sub);
  if (payload.client_id !== ctx.oidc.client.clientId || !accountId) {
    throw new errors.InvalidGrant('not for this client, or about nobody');
  }
  if (!await provider.ReplayDetection.unique(payload.iss, payload.jti, payload.exp)) {
    throw new errors.InvalidGrant('used before');
  }
  const token = new provider.AccessToken({ client: ctx.oidc.client, accountId, gty: 'jwt_bearer' });
  token.resourceServer = new provider.ResourceServer(resource, api);
  token.scope = scope ?? SCOPE;
  ctx.body = {
    access_token: await token.save(), expires_in: token.expiration, scope: token.scope, token_type: token.tokenType,
  };
}
provider.registerGrantType(JWT_BEARER, (...args) => idJag(args.find((arg) => arg?.oidc)), ['assertion', 'scope'], []);

// As a human's consent would have led to it.
async function refreshToken() {
  const accountId = `acct_${randomUUID()}`;
  const grant = new provider.Grant({ accountId, clientId: host.client_id });
  grant.addResourceScope(resource, SCOPE);
  const token = new provider.RefreshToken({
    client: await provider.Client.find(host.client_id),
    accountId,
    grantId: await grant.save(),
    gty: 'authorization_code',
    resource,
    scope: SCOPE,
  });
  return token.save();
}

provider.on('server_error', (_ctx, error) => console.error(error));
provider.on('grant.error', (_ctx, error) => console.error(error.error, error.error_detail ?? error.error_description));
provider.listen(port, '127.0.0.1', () => {
  const pair = ({ client_id: id, client_secret: secret }) => ({ id, secret });
  say({ machines: machines.map(pair), host: pair(host), bearer: pair(bearer), node: process.version });
});
for await (const wanted of lines) {
  say(await Promise.all(Array.from({ length: Number(wanted) }, refreshToken)));
}
process.exit(0);
