// A certified OpenID provider, for the tests: any login is let in at its own (development) pages.
// Arguments: port, the portal's address back. Prints "ready" when it listens.
import Provider from 'oidc-provider';

const [port, back] = process.argv.slice(2);
const api = 'https://cloud.example/api';

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{
    client_id: 'ievcc-portal',
    client_secret: 'a secret of the portal alone',
    redirect_uris: [back],
    grant_types: ['authorization_code'],
    response_types: ['code'],
  }],
  claims: { openid: ['sub'], email: ['email', 'email_verified'] },
  conformIdTokenClaims: false, // the address in the ID token too, as many providers have it
  findAccount: (_context, login) => ({
    accountId: login,
    claims: () => ({ sub: login, email: login, email_verified: !login.startsWith('unverified') }),
  }),
  extraTokenClaims: (_context, token) => (
    { email: token.accountId, email_verified: !token.accountId.startsWith('unverified') }
  ),
  features: {
    devInteractions: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({ scope: 'api', audience: api, accessTokenFormat: 'jwt' }),
    },
  },
  pkce: { required: () => true },
});
provider.listen(Number(port), '127.0.0.1', () => console.log('ready'));
