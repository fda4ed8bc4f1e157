// Package auth checks the logins of mail clients: the SASL mechanisms PLAIN and
// LOGIN over any source of users, and the password hashes that Dovecot, Postfix
// installations and Unix systems store.
//
// # Strategies
//
// Three results: a password is right, it is wrong (535 5.7.8), or it could not
// be found out (454 4.7.0). A table that is down, and a stored secret that
// cannot be read, are the third: they never let anybody in, and never tell a
// user that his password is wrong.
//
// The same work for strangers: an unknown user costs what the last known one
// did, so that the time of an answer does not tell who has an account.
//
// Bounded work: names and passwords have a largest length, stored hashes a
// largest cost, and only so many hashes are computed at a time.
//
// # Use
//
//  1. Put users into a table: "user@example.org" to "{SHA512-CRYPT}$6$...".
//  2. Make a Passwd of the table, or write a Verifier of your own.
//  3. Give SASL{Verifier: ...} to smtpserver.Intake as its Authenticator.
//
// # Schemes
//
// {PLAIN} {CLEARTEXT} {PLAIN-MD5} {LDAP-MD5} {SMD5} {SHA} {SHA1} {SSHA} {SHA256}
// {SSHA256} {SHA512} {SSHA512}, each also as {SCHEME.HEX}, {SCHEME.B64} and
// {SCHEME.BASE64}; {MD5-CRYPT} {MD5} {SHA256-CRYPT} {SHA512-CRYPT} {BLF-CRYPT};
// {DES-CRYPT}; {CRYPT} for the traditional DES hash of 13 characters and for any of
// $1$ $5$ $6$ $2a$ $2b$ $2y$, which may also stand without a scheme.
//
// # Caveats
//
// PLAIN and LOGIN send the password: offer them under TLS only, as
// smtpserver.Server does by default. The traditional DES hash looks at eight
// characters only and is quickly broken: it is read so that old tables can be
// taken over. bcrypt's broken $2x$ and a plain password without {PLAIN} are not
// read, nor is a DES hash without a scheme, which looks like one: a secret nobody
// can read is an error, never a password. Users whose secrets have different schemes can be told from
// strangers by a patient observer.
package auth
