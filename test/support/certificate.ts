/**
 * A certificate for 127.0.0.1 and localhost that nobody vouches for, good until 2126, with its key: for
 * tests of TLS alone. Made by `openssl req -x509 -newkey ec -nodes -days 36500`.
 */
export const CERTIFICATE = {
  cert: `-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIUClotTl5h3k71wOCXeoh0YlnRN/8wCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMzAzNTQxMloYDzIxMjYxMDMw
MDM1NDEyWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQsYhXgp+6T2ncytx+6SGnRPTFipXdLzuxfQl2i/bNE3GsbyGYKAueY
1Pqa2qNQ/PCqmi19oj50qV0rwmjaygy7o28wbTAdBgNVHQ4EFgQUKCI99v0RW0qb
MKx5p4y9gA4ydGwwHwYDVR0jBBgwFoAUKCI99v0RW0qbMKx5p4y9gA4ydGwwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSAAwRQIhALaB/Hksch5ZrVaOSLNmqKs9hq8VruKzSg3quOReKX1wAiAh
e9tKu2QHsPi2GpovXU9byTDviALZe1i3VcQCPBzl2A==
-----END CERTIFICATE-----
`,
  key: `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgyMIJTS1YVdLpZYtd
f+jIzL7PL0HoEBVKsC/yzx8PRlehRANCAAQsYhXgp+6T2ncytx+6SGnRPTFipXdL
zuxfQl2i/bNE3GsbyGYKAueY1Pqa2qNQ/PCqmi19oj50qV0rwmjaygy7
-----END PRIVATE KEY-----
`,
};
